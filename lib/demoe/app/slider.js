// A photograph before and after: drag the edge between them, zoom to 100 % and pan, full screen, save.
//
// demoeCompare(root, {full, save}) fills an element and returns {show}, where show({before, after, width, height,
// reduced, name}) shows two pictures by their addresses. width and height are the photograph's, in pixels; reduced says
// that the pictures are smaller than it. full: async (shown) => {before, after}, addresses of both at full size, asked
// for where somebody looks closer. save: async (shown) => {}, null for no button; by default the picture in the page is
// saved.
function demoeCompare(root, { full = null, save } = {}) {
  if (save === undefined) save = saved;
  root.classList.add("demoe-compare");
  root.dataset.lmSuppressShortcuts = "true"; // else JupyterLab takes the keys
  root.innerHTML = `
    <div class="demoe-view" tabindex="0" role="group" aria-label="Photograph before and after. Plus and minus zoom,
      0 shows all of it, 1 shows it at 100 %, arrow keys move it, F is full screen.">
      <img class="demoe-before" alt="before" draggable="false">
      <div class="demoe-part"><img class="demoe-after" alt="after" draggable="false"></div>
      <div class="demoe-edge"></div>
      <span class="demoe-tag demoe-left">before</span><span class="demoe-tag demoe-right">after</span>
    </div>
    <input class="demoe-range" type="range" min="0" max="100" step="1" aria-label="Edge between before and after">
    <div class="demoe-tools">
      <button type="button" name="out" aria-label="Zoom out">−</button>
      <output class="demoe-zoom" aria-label="Zoom"></output>
      <button type="button" name="in" aria-label="Zoom in">+</button>
      <button type="button" name="fit">Fit</button>
      <button type="button" name="whole">100 %</button>
      <button type="button" name="screen">Full screen</button>
      <button type="button" name="save">Save</button>
      <span class="demoe-note" role="status"></span>
    </div>`;
  const part = (name) => root.querySelector(`.demoe-${name}`);
  const button = (name) => root.querySelector(`button[name=${name}]`);
  const [view, range, before, after] = ["view", "range", "before", "after"].map(part);
  const whole = () => 1 / devicePixelRatio; // at 100 % a pixel of the photograph is one of the screen
  let shown = null;
  let [zoom, x, y, edge, fitted, loading] = [1, 0, 0, 0.5, true, false]; // zoom: CSS pixels a pixel; edge: of the view
  let loaded = false; // whether the picture is there whose size decides if a larger one is needed, not the last one's

  const larger = () => shown.width * zoom > view.clientWidth + 1 || shown.height * zoom > view.clientHeight + 1;
  const inside = (at, size, room) => (size <= room ? (room - size) / 2 : Math.min(0, Math.max(room - size, at)));

  function draw() {
    const [width, height] = [shown.width * zoom, shown.height * zoom];
    x = inside(x, width, view.clientWidth);
    y = inside(y, height, view.clientHeight);
    for (const image of [before, after]) {
      image.style.cssText = `width: ${width}px; height: ${height}px; transform: translate(${x}px, ${y}px);`;
      if (width * devicePixelRatio >= 2 * image.naturalWidth) image.style.imageRendering = "pixelated";
    }
    part("part").style.clipPath = `inset(0 0 0 ${100 * edge}%)`;
    part("edge").style.left = `${100 * edge}%`;
    view.classList.toggle("demoe-larger", larger());
    range.value = 100 * edge;
    range.setAttribute("aria-valuetext", `${Math.round(100 * edge)} % before`);
    part("zoom").value = `${Math.round((100 * zoom) / whole())} %`;
    sharpen();
  }

  function layout() {
    if (!shown || !root.clientWidth) return;
    const screen = document.fullscreenElement === root;
    const room = screen ? [view.clientWidth, view.clientHeight] : [root.clientWidth, Math.max(240, 0.7 * innerHeight)];
    let fit = Math.min(room[0] / shown.width, room[1] / shown.height);
    if (fit > 1) fit = Math.min(Math.floor(fit), 4); // a small picture is enlarged by whole pixels
    const side = (size) => (screen ? "" : `${Math.round(size * fit)}px`);
    [view.style.width, view.style.height] = [side(shown.width), side(shown.height)];
    range.style.width = view.style.width;
    button("screen").textContent = screen ? "Leave full screen" : "Full screen";
    if (fitted) zoom = fit;
    draw();
  }

  function zoomTo(value, at = { x: view.clientWidth / 2, y: view.clientHeight / 2 }) {
    const next = Math.min(16 * whole(), Math.max(16 / Math.max(shown.width, shown.height), value));
    x = at.x - ((at.x - x) * next) / zoom;
    y = at.y - ((at.y - y) * next) / zoom;
    [zoom, fitted] = [next, false];
    draw();
  }

  function fit() {
    fitted = true;
    layout();
  }

  function moveEdge(to) {
    edge = Math.min(1, Math.max(0, to));
    draw();
  }

  async function sharpen() {
    const wanted = shown.width * zoom * devicePixelRatio > 1.05 * before.naturalWidth;
    if (!full || !shown.reduced || loading || !loaded || !wanted) return;
    const asked = shown;
    loading = true;
    note("loading the full size ...");
    try {
      const sharper = await full(asked);
      if (asked === shown) show({ ...asked, ...sharper, reduced: false });
    } catch (error) {
      if (asked === shown) note(`the full size could not be loaded: ${error.message ?? error}`);
    }
  }

  function saved() {
    const link = document.createElement("a");
    link.href = after.src;
    link.download = shown.name;
    link.click();
  }

  const note = (text) => (part("note").textContent = text);

  function show(pictures) {
    const same = shown && shown.width === pictures.width && shown.height === pictures.height;
    [shown, loading, loaded] = [pictures, false, false];
    if (!same) fitted = true; // of equal size: the place that somebody looks at stays
    [before.src, after.src] = [shown.before, shown.after];
    const smaller = shown.reduced ? (full ? ", shown smaller until you zoom in" : ", shown smaller here") : "";
    note(`${shown.width} × ${shown.height} pixels${smaller}`);
    layout();
  }

  const pointers = new Map();
  let action = null;
  const place = (event) => {
    const box = view.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };
  const spread = () => {
    const [a, b] = [...pointers.values()];
    return { far: Math.hypot(a.x - b.x, a.y - b.y), x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 };
  };
  view.addEventListener("pointerdown", (event) => {
    if (event.button || !shown) return;
    view.setPointerCapture(event.pointerId);
    const at = place(event);
    pointers.set(event.pointerId, at);
    const near = Math.abs(at.x - edge * view.clientWidth) < 24;
    action = pointers.size > 1 ? "pinch" : near || !larger() ? "edge" : "pan";
    if (action === "edge") moveEdge(at.x / view.clientWidth);
  });
  view.addEventListener("pointermove", (event) => {
    if (!pointers.has(event.pointerId)) return;
    const [from, at] = [pointers.get(event.pointerId), place(event)];
    const old = pointers.size === 2 && spread();
    pointers.set(event.pointerId, at);
    if (action === "edge") moveEdge(at.x / view.clientWidth);
    else if (action === "pan") [x, y] = [x + at.x - from.x, y + at.y - from.y];
    else if (old) {
      const now = spread();
      [x, y] = [x + now.x - old.x, y + now.y - old.y];
      zoomTo((zoom * now.far) / Math.max(1, old.far), now);
    }
    draw();
  });
  for (const end of ["pointerup", "pointercancel"]) {
    view.addEventListener(end, (event) => {
      pointers.delete(event.pointerId);
      action = null;
    });
  }
  view.addEventListener("dblclick", (event) => (fitted ? zoomTo(whole(), place(event)) : fit()));
  view.addEventListener(
    "wheel",
    (event) => {
      if (!event.ctrlKey && document.fullscreenElement !== root) return; // the page scrolls
      event.preventDefault();
      zoomTo(zoom * Math.exp(-0.0025 * event.deltaY), place(event));
    },
    { passive: false },
  );
  view.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    const key = { "+": "in", "=": "in", "-": "out", 0: "fit", 1: "whole", f: "screen" }[event.key.toLowerCase()];
    if (event.ctrlKey || event.metaKey || event.altKey || !(step || key)) return;
    event.preventDefault();
    if (key) button(key).click();
    else if (larger()) [x, y] = [x + 60 * step[0], y + 60 * step[1]];
    else edge = Math.min(1, Math.max(0, edge - 0.02 * step[0]));
    draw();
  });
  range.addEventListener("input", () => moveEdge(range.value / 100));
  button("in").addEventListener("click", () => zoomTo(zoom * 1.5));
  button("out").addEventListener("click", () => zoomTo(zoom / 1.5));
  button("fit").addEventListener("click", fit);
  button("whole").addEventListener("click", () => zoomTo(whole()));
  button("screen").addEventListener("click", () =>
    document.fullscreenElement === root ? document.exitFullscreen() : root.requestFullscreen(),
  );
  button("save").addEventListener("click", () => save(shown));
  button("screen").hidden = !document.fullscreenEnabled;
  button("save").hidden = !save;
  root.addEventListener("fullscreenchange", layout);
  before.addEventListener("load", () => (loaded = true));
  for (const image of [before, after]) image.addEventListener("load", layout);
  new ResizeObserver(layout).observe(root);
  return { show };
}
