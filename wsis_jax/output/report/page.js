
"use strict";
const root = document.documentElement;
window.addEventListener("error", (event) => { root.dataset.error = event.message; });
root.classList.add("js");

/* One gallery a page: pictures with layers, one of each shown. The address says which: #image=3&layer=outlines */
const gallery = document.querySelector("[data-gallery]");
if (gallery) {
  const items = [...gallery.querySelectorAll(".item")];
  const layers = [...gallery.querySelectorAll("[data-choose]")];
  const thumbs = [...gallery.querySelectorAll("[data-item]")];
  const place = gallery.querySelector(".place");
  const about = gallery.querySelector(".about");
  let item = Number(gallery.dataset.first);
  let layer = gallery.dataset.layer;

  const pictureOf = (figure) => {
    const pictures = [...figure.querySelectorAll("img")];
    return pictures.find((picture) => picture.dataset.layer === layer) || pictures[0];
  };

  const show = () => {
    items.forEach((figure, index) => {
      figure.hidden = index !== item;
      for (const picture of figure.querySelectorAll("img")) picture.hidden = picture !== pictureOf(figure);
    });
    thumbs.forEach((thumb, index) => {
      thumb.setAttribute("aria-pressed", String(index === item));
      const picture = thumb.querySelector("img");
      if (picture) picture.src = pictureOf(items[index]).src;
    });
    layers.forEach((button) => {
      const chosen = button.dataset.choose === layer;
      button.setAttribute("aria-pressed", String(chosen));
      if (chosen) about.textContent = button.dataset.about;
    });
    place.textContent = `${item + 1} of ${items.length}`;
    const strip = gallery.querySelector(".strip");
    const thumb = thumbs[item];
    strip.scrollLeft = thumb.offsetLeft - strip.offsetLeft - (strip.clientWidth - thumb.clientWidth) / 2;
    root.dataset.shown = `${item + 1} ${layer}`;
  };

  const remember = () => {
    show();
    const chosen = layers.length ? `&layer=${encodeURIComponent(layer)}` : "";
    try { history.replaceState(null, "", `#image=${item + 1}${chosen}`); } catch { /* an odd place to be read from */ }
  };

  const go = (index) => { item = (index + items.length) % items.length; remember(); };

  const readAddress = () => {
    const wanted = new URLSearchParams(location.hash.slice(1));
    const index = Number(wanted.get("image")) - 1;
    if (Number.isInteger(index) && index >= 0 && index < items.length) item = index;
    if (layers.some((button) => button.dataset.choose === wanted.get("layer"))) layer = wanted.get("layer");
    show();
  };

  layers.forEach((button) => button.addEventListener("click", () => { layer = button.dataset.choose; remember(); }));
  thumbs.forEach((thumb, index) => thumb.addEventListener("click", () => go(index)));
  for (const button of gallery.querySelectorAll("[data-step]")) {
    button.addEventListener("click", () => go(item + Number(button.dataset.step)));
  }
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest(".chart, .scroll")) return;
    if (event.key === "ArrowLeft") go(item - 1);
    else if (event.key === "ArrowRight") go(item + 1);
    else if (layers[Number(event.key) - 1]) layers[Number(event.key) - 1].click();
    else return;
    event.preventDefault();
  });
  window.addEventListener("hashchange", readAddress);
  readAddress();
}

/* Charts say what is under the pointer, or under a cursor that the arrow keys move. */
for (const chart of document.querySelectorAll(".chart[data-points]")) {
  const points = JSON.parse(chart.dataset.points);
  const svg = chart.querySelector("svg");
  const cursor = chart.querySelector(".cursor");
  const bars = [...chart.querySelectorAll(".bar")];
  const readout = chart.querySelector(".readout");
  const start = readout.textContent;
  let at = Number(chart.dataset.at);

  const show = (index) => {
    at = Math.min(Math.max(index, 0), points.length - 1);
    readout.textContent = points[at][1];
    bars.forEach((bar, place) => bar.classList.toggle("at", place === at));
    if (!cursor) return;
    cursor.setAttribute("x1", points[at][0]);
    cursor.setAttribute("x2", points[at][0]);
    cursor.style.visibility = "visible";
  };
  const leave = () => {
    readout.textContent = start;
    bars.forEach((bar) => bar.classList.remove("at"));
    if (cursor) cursor.style.visibility = "hidden";
  };
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const x = (event.clientX - box.left) * svg.viewBox.baseVal.width / box.width;
    let nearest = 0;
    points.forEach(([place], index) => {
      if (Math.abs(place - x) < Math.abs(points[nearest][0] - x)) nearest = index;
    });
    show(nearest);
  });
  svg.addEventListener("pointerleave", leave);
  chart.addEventListener("focus", () => show(at));
  chart.addEventListener("blur", leave);
  chart.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    show(at + (event.key === "ArrowRight" ? 1 : -1));
    event.preventDefault();
  });
}
root.dataset.ready = "yes";
