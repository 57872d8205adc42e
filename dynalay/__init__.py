"""DynaLay, and the ground that every adaptive classifier stands on."""
