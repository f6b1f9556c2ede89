// Downloads made in the page: its tables as files, and every chart as an SVG that needs no style sheet.

const save = (name, text, type) => {
  const link = document.createElement("a");
  const address = URL.createObjectURL(new Blob([text], { type }));
  link.setAttribute("href", address);
  link.download = name;
  link.click();
  URL.revokeObjectURL(address);
};

const DRAWN = ["fill", "stroke", "stroke-width", "stroke-dasharray", "opacity", "font-size", "font-family", "visibility"];

// The SVG with the computed look of every node as attributes.
const standalone = (svg) => {
  const copy = svg.cloneNode(true);
  const [nodes, copies] = [svg, copy].map((root) => [root, ...root.querySelectorAll("*")]);
  nodes.forEach((node, i) => {
    const style = getComputedStyle(node);
    for (const name of DRAWN) copies[i].setAttribute(name, style.getPropertyValue(name));
    copies[i].removeAttribute("class");
  });
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  copy.style.background = getComputedStyle(document.body).backgroundColor;
  return new XMLSerializer().serializeToString(copy);
};

const downloadButton = (text, label, action) => {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "download";
  button.textContent = text;
  button.setAttribute("aria-label", label);
  button.addEventListener("click", action);
  return button;
};

const svgDownload = (figure, name) =>
  downloadButton("SVG", `Download ${name}`, () => save(name, standalone(figure.querySelector("svg")), "image/svg+xml"));

const setUpDownloads = (data) => {
  const holder = document.getElementById("downloads");
  for (const [name, text] of Object.entries(data.files)) {
    holder.append(downloadButton(name, `Download ${name}`, () => save(name, text, "text/plain")));
  }
};
