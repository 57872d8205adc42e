// Tables: a click on a heading sorts by its column, numbers by value, holes last.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  table.tHead.addEventListener("click", ({ target }) => {
    const heading = target.closest("th");
    if (!target.closest("button") || !heading) return;
    const direction = heading.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
    for (const other of table.tHead.querySelectorAll("th")) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", direction);
    const key = (row) => {
      const { value } = row.cells[heading.cellIndex].dataset;
      return value === undefined ? row.cells[heading.cellIndex].textContent.trim() : value === "" ? NaN : Number(value);
    };
    const sign = direction === "ascending" ? 1 : -1;
    const compare = (a, b) => {
      if (typeof a === "string" || typeof b === "string") return sign * String(a).localeCompare(String(b), "en", { numeric: true });
      return Number.isNaN(a) - Number.isNaN(b) || sign * (a - b);
    };
    const rows = [...body.rows].map((row) => [key(row), row]).sort(([a], [b]) => compare(a, b));
    body.append(...rows.map(([, row]) => row));
  });
}

// One dataset at a time, everywhere on the page: whatever belongs to another one is hidden.
if ($("only")) {
  const filter = () => {
    const dataset = $("only").value;
    for (const part of document.querySelectorAll("[data-dataset]")) {
      part.hidden = dataset !== "" && part.dataset.dataset !== dataset;
    }
    const select = $("dataset");
    if (dataset && select && [...select.options].some((option) => option.value === dataset) && select.value !== dataset) {
      select.value = dataset;
      select.dispatchEvent(new Event("change", { bubbles: true }));
    }
  };
  $("only").addEventListener("change", filter);
}
