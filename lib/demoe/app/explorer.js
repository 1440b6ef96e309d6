// The notebook's window: what is chosen above, the photograph before and after below. slider.js stands before this.
function render({ model, el }) {
  el.innerHTML = `
    <div class="demoe-panel" data-lm-suppress-shortcuts="true">
      <label>photograph <select name="photograph"></select></label>
      <label>upload <input type="file" multiple></label>
      <label>expert <select name="expert"></select></label>
      <label>mixed (k) <input name="k" type="number" min="1" max="${model.get("experts").length}"></label>
    </div>
    <div class="slider"></div>
    <div class="demoe-said" role="status"></div>`;
  const [photograph, expert, k] = ["photograph", "expert", "k"].map((name) => el.querySelector(`[name=${name}]`));
  const [file, said] = [el.querySelector("[type=file]"), el.querySelector(".demoe-said")];
  const waiting = new Map();
  let number = 0;

  // The kernel's answer to a message: [content, its buffers].
  function ask(kind, more = {}, buffers = []) {
    model.send({ kind, number: ++number, ...more }, undefined, buffers);
    return new Promise((resolve, reject) => waiting.set(number, { resolve, reject }));
  }
  function answered(content, buffers) {
    const { resolve, reject } = waiting.get(content.number) ?? {};
    waiting.delete(content.number);
    if (content.error) reject?.(new Error(content.error));
    else resolve?.([content, buffers]);
  }

  const kept = [];
  const address = (type, buffer) => kept[kept.push(URL.createObjectURL(new Blob([buffer], { type }))) - 1];
  const sides = ([content, buffers]) => ({
    before: address(content.types[0], buffers[0]),
    after: address(content.types[1], buffers[1]),
  });
  async function save() {
    const [content, buffers] = await ask("file");
    const link = document.createElement("a");
    link.href = address("application/octet-stream", buffers[0]);
    link.download = content.name;
    link.click();
  }
  const slider = demoeCompare(el.querySelector(".slider"), { full: async () => sides(await ask("full")), save });

  async function refresh() {
    const old = kept.splice(0);
    const [content, buffers] = await ask("pictures");
    slider.show({ ...content, ...sides([content, buffers]) });
    old.forEach((address) => URL.revokeObjectURL(address));
    document.getElementById(model.get("still"))?.remove(); // the copy for pages without a kernel
  }
  function options(select, choices, value) {
    select.replaceChildren(...choices.map(([text, value]) => new Option(text, value)));
    select.value = value;
  }
  function controls() {
    options(photograph, model.get("photographs").map((name) => [name, name]), model.get("photograph"));
    const experts = model.get("experts").map((name) => [name, name]);
    options(expert, [["automatic (the router chooses)", ""], ...experts], model.get("expert"));
    k.value = model.get("k");
    k.disabled = model.get("expert") !== ""; // one expert alone
  }
  function tell() {
    said.replaceChildren(...model.get("said").map((line) => Object.assign(document.createElement("div"), { textContent: line })));
  }
  function choose(name, value) {
    said.textContent = "working ...";
    model.set(name, value);
    model.save_changes();
  }
  async function upload() {
    const size = 4e6; // bytes a message: servers refuse larger ones
    for (const one of file.files) {
      said.textContent = `reading ${one.name} ...`;
      for (let at = 0; at === 0 || at < one.size; at += size) {
        const piece = await one.slice(at, at + size).arrayBuffer();
        await ask("upload", { name: one.name, last: at + size >= one.size }, [piece]);
      }
    }
    file.value = "";
  }

  photograph.addEventListener("change", () => choose("photograph", photograph.value));
  expert.addEventListener("change", () => choose("expert", expert.value));
  k.addEventListener("change", () => k.reportValidity() && choose("k", Number(k.value)));
  file.addEventListener("change", upload);
  const events = { "msg:custom": answered, "change:version": refresh, "change:said": tell };
  for (const name of ["photographs", "photograph", "expert", "k"]) events[`change:${name}`] = controls;
  for (const [event, does] of Object.entries(events)) model.on(event, does);
  controls();
  tell();
  refresh();
  return () => {
    for (const [event, does] of Object.entries(events)) model.off(event, does);
    kept.forEach((address) => URL.revokeObjectURL(address));
  };
}
export default { render };
