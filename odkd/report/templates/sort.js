// Sort a table by the column whose header is clicked. Tables are complete without this script.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = table.tHead.rows[table.tHead.rows.length - 1].cells;
  for (const head of heads) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") !== "descending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = (row) => {
        const cell = row.cells[head.cellIndex];
        const text = cell.dataset.value ?? cell.textContent.trim();
        const value = text === "" ? NaN : Number(text);
        return [Number.isNaN(value) ? (/^(–|undefined|)$/.test(text) ? 2 : 1) : 0, value, text];
      };
      const body = table.tBodies[0];
      const rows = [...body.rows].map((row) => [key(row), row]);
      rows.sort(([a], [b]) => {
        if (a[0] !== b[0]) return a[0] - b[0];  // numbers, then text, then unknown values
        const order = a[0] === 0 ? a[1] - b[1] : a[2].localeCompare(b[2]);
        return down ? -order : order;
      });
      body.append(...rows.map(([, row]) => row));
    });
  }
}
