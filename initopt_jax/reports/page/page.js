for (const [name, figure] of Object.entries(figures)) {
  Plotly.newPlot(name, figure.data, figure.layout, {responsive: true, displaylogo: false, typesetMath: false});
}
for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => heading.firstElementChild.addEventListener("click", () => {
    const down = heading.getAttribute("aria-sort") === "ascending";
    headings.forEach((other) => other.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    const rows = [...table.tBodies[0].rows];
    const key = (row) => row.cells[column].dataset.key;
    const numeric = rows.every((row) => key(row) === "nan" || !Number.isNaN(Number(key(row))));
    rows.sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === "nan" || y === "nan") return (x === "nan") - (y === "nan");
      return (numeric ? x - y : x.localeCompare(y)) * (down ? -1 : 1);
    });
    table.tBodies[0].append(...rows);
  }));
}
