"""What tests do in a browser."""


def texts(driver, selector: str) -> list[str]:
    return driver.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map(found => found.textContent.trim())", selector
    )


def press(driver, selector: str) -> None:
    driver.execute_script("document.querySelector(arguments[0]).click()", selector)


def choose(driver, element: str, value: str) -> None:
    driver.execute_script(
        "const box = document.getElementById(arguments[0]); box.value = arguments[1];"
        "box.dispatchEvent(new Event('change', {bubbles: true}))", element, value,
    )  # fmt: skip


def chart(driver, expression: str):
    """A value of the Chart.js chart, by an expression in `chart`."""
    return driver.execute_script(f"const chart = Chart.getChart('chart'); return {expression}")


def unfold(driver) -> None:
    driver.execute_script("for (const fold of document.querySelectorAll('details')) fold.open = true")


def set_size(driver, width: int, height: int = 844) -> None:
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    # Whatever is drawn to size is drawn again by the second frame.
    driver.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")


def reachable(driver) -> int:
    """How many stops the tabulator key makes."""
    return driver.execute_script(
        "return [...document.querySelectorAll('a[href], button, input, select, summary, [tabindex]')]"
        ".filter(e => e.tabIndex >= 0 && e.checkVisibility()).length"
    )


#: All texts whose contrast to the background that they stand on is below WCAG AA's 4.5 to 1.
FAINT_TEXT = """
    const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const luminance = ([r, g, b]) => {
      const [x, y, z] = [r, g, b].map((c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
      return 0.2126 * x + 0.7152 * y + 0.0722 * z;
    };
    const ground = (element) => {
      for (let e = element; e; e = e.parentElement) {
        const colour = channels(getComputedStyle(e).backgroundColor);
        if (colour.length < 4 || colour[3] > 0) return colour;
      }
      return [255, 255, 255];
    };
    return [...document.querySelectorAll("main *, header *, footer *, nav *")]
      .filter((e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()))
      .map((e) => {
        const pair = [luminance(channels(getComputedStyle(e).color)), luminance(ground(e))].sort((a, b) => b - a);
        return [(pair[0] + 0.05) / (pair[1] + 0.05), e.tagName, e.textContent.trim().slice(0, 40)];
      })
      .filter(([ratio]) => ratio < 4.5);
"""

#: Whatever has no name that can be read aloud.
UNNAMED = """
    const named = (e) => e.getAttribute("aria-label") || e.getAttribute("alt") || e.textContent.trim()
      || e.labels?.length || document.getElementById(e.getAttribute("aria-labelledby"));
    return [...document.querySelectorAll("img, button, select, input, canvas, section, [role=region], [role=img], nav")]
      .filter((e) => !named(e)).map((e) => e.outerHTML.slice(0, 80));
"""
