"""What a page does: it searches its tables, and nothing else."""

SCRIPT = """
"use strict";
for (const box of document.querySelectorAll("[data-search]")) {
  const input = box.querySelector("input"), said = box.querySelector("output");
  const rows = [...document.getElementById(box.dataset.search).tBodies[0].rows];
  const texts = rows.map(row => row.textContent.toLowerCase());
  const look = () => {
    const words = input.value.toLowerCase().split(/\\s+/).filter(Boolean);
    let count = 0;
    rows.forEach((row, place) => {
      const found = words.every(word => texts[place].includes(word));
      row.hidden = !found;
      count += found;
    });
    said.textContent = box.dataset.said.replace("{n}", count).replace("{all}", rows.length);
  };
  input.addEventListener("input", look);
  box.hidden = false;
  look();
}
"""
"""One text, so that a page can say its digest and allow no other. Without it the tables are there in full."""
