// Strokes on one's own images. The server has them: what is shown as saved is on its disk.
"use strict";
(async () => {
  const ERASER = 15; // pixels, unless a brush is chosen
  const UNSURE = 5; // images to draw on next
  const get = (id) => document.getElementById(id);
  const canvas = get("canvas");
  const context = canvas.getContext("2d");
  const state = {
    folder: null, index: -1, wanted: 0, tag: 0, tool: "draw", image: null, sheet: { own: [], locked: [], revision: -1 },
    masks: new Map(), answer: null, regions: [], zoom: 1, x: 0, y: 0, stroke: null,
    // By image: changes to be taken back, and those that were.
    undo: new Map(), redo: new Map(),
  };

  async function ask(path, body) {
    const options = body === undefined ? {} : {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Session": state.folder.session },
      body: JSON.stringify(body),
    };
    const response = await fetch(path, options);
    const found = await response.json().catch(() => ({}));
    if (!response.ok) throw Object.assign(new Error(found.error || `status ${response.status}`), { merges: found.merges });
    return found;
  }

  function say(text, bad = false) {
    get("state").textContent = text;
    get("state").className = bad ? "bad" : "soft";
  }

  // What is there

  function element(name, text, attributes = {}) {
    const made = document.createElement(name);
    made.textContent = text;
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  }

  function showFolder() {
    const { images, folder, files } = state.folder;
    get("folder").textContent = `${folder.split("/").pop()}: strokes in ${files}/`;
    get("folder").title = folder;
    get("images").replaceChildren(...images.map((one, place) => {
      const item = document.createElement("li");
      const button = element("button", "", { type: "button" });
      const small = element("img", "", { alt: "", loading: "lazy", fetchpriority: "low", src: `/thumbnail/${place}` });
      button.append(small, document.createElement("span"));
      button.addEventListener("click", () => open(place));
      item.append(button);
      return item;
    }));
    showClasses();
    showImages();
  }

  function showClasses() {
    const { classes, colours } = state.folder;
    get("classes").replaceChildren(...classes.map((name, place) => {
      const button = element("button", "", { type: "button" });
      const colour = document.createElement("i");
      colour.style.background = colours[place];
      button.append(colour, element("span", name));
      if (place < 9) button.append(element("kbd", place + 1));
      button.addEventListener("click", () => choose(place));
      return button;
    }));
    mark();
    showCounts();
  }

  // In place, so that the focus stays where it is.
  function showImages() {
    const { images } = state.folder;
    images.forEach((one, place) => {
      const button = get("images").children[place].firstChild;
      write(button.lastChild, one.strokes ? `${one.name} · ${one.strokes}` : one.name);
      button.setAttribute("aria-current", place === state.index);
    });
    write(get("images-title"), `Images: ${drawn()} of ${images.length} drawn`);
    plan();
  }

  // In its list; the page itself stays where it is.
  function reveal(item) {
    const one = item.getBoundingClientRect();
    for (const list of [item.parentElement, item.parentElement.parentElement]) {
      const box = list.getBoundingClientRect();
      if (one.left < box.left || one.right > box.right) list.scrollLeft += one.left - box.left;
      if (one.top < box.top || one.bottom > box.bottom) list.scrollTop += one.bottom - box.bottom + 8;
    }
  }

  function showCounts() {
    const { classes, counts } = state.folder;
    classes.forEach((name, place) => {
      const label = get("classes").children[place].children[1];
      write(label, counts[place] ? `${name} · ${counts[place]}` : name);
    });
    plan();
  }

  function write(where, text) {
    if (where.textContent !== text) where.textContent = text;
  }

  const drawn = () => state.folder.images.filter((one) => one.strokes).length;

  function choose(place) {
    if (place >= state.folder.classes.length) return;
    state.tag = place;
    pick("draw");
    mark();
  }

  function mark() {
    [...get("classes").children].forEach((one, n) => one.setAttribute("aria-pressed", n === state.tag));
    get("rename").disabled = get("remove").disabled = state.tag === 0;
  }

  function pick(tool) {
    state.tool = tool;
    get("tool-draw").setAttribute("aria-pressed", tool === "draw");
    get("tool-erase").setAttribute("aria-pressed", tool === "erase");
  }

  const differs = (classes) => classes.join("\n") !== state.folder.classes.join("\n");

  // What a change of the classes has changed, here or in another window. The class that is drawn
  // stays the same one, by its name or the new one; where it is gone, it is the background.
  async function takeFolder(folder, named) {
    if (folder.session !== state.folder.session) throw new Error("bpg draw has been restarted: reload this page");
    const name = named || state.folder.classes[state.tag];
    const focus = [...get("classes").children].indexOf(document.activeElement);
    state.folder = folder;
    state.tag = Math.max(0, folder.classes.indexOf(name));
    if (!folder.classes.includes(name)) get("class-says").textContent = `${name} is gone; you draw ${folder.classes[0]} now.`;
    state.answer = null;
    showClasses();
    showImages();
    if (focus >= 0) get("classes").children[Math.min(focus, folder.classes.length - 1)].focus();
    const index = state.index;
    if (index < 0) return;
    const sheet = await ask(`/api/strokes/${index}`);
    const masks = await masksOf(sheet);
    if (state.index === index && sheet.revision >= state.sheet.revision) take(sheet, masks);
    later();
  }

  const look = () => ask("/api/folder").then(takeFolder).catch((error) => say(error.message, true));

  // In the queue: strokes that were drawn before are saved before.
  function changeClass(body, named) {
    pending += 1;
    saying();
    const done = queue.then(async () => {
      try {
        let found;
        try {
          found = await ask("/api/classes", body);
        } catch (error) {
          const number = state.folder.counts[state.folder.classes.indexOf(body.name)];
          if (!error.merges || !("to" in body)) throw error;
          if (!window.confirm(`There is a class ${error.merges}. Shall the strokes of ${body.name} (${number}) become strokes of ${error.merges}? This cannot be undone.`)) return false;
          named = error.merges;
          found = await ask("/api/classes", { ...body, merge: true });
        }
        get("class-says").textContent = "";
        await takeFolder(found, named && (found.classes.includes(named) ? named : found.classes[state.tag]));
        return true;
      } catch (error) {
        get("class-says").textContent = error.message;
        return false;
      } finally {
        pending -= 1;
        saying();
      }
    });
    queue = done;
    return done;
  }

  function rename() {
    const name = state.folder.classes[state.tag];
    const to = (window.prompt(`A new name for ${name}:`, name) || "").trim();
    if (to && to !== name) changeClass({ kind: "rename", name, to }, to);
  }

  async function open(index, keep = false) {
    const { images } = state.folder;
    if (index < 0 || index >= images.length) return;
    state.wanted = index;
    // Until the image is there, the one before stays, with all that is done to it.
    const image = new Image();
    image.src = `/image/${index}`;
    let sheet, masks;
    try {
      [sheet] = await Promise.all([ask(`/api/strokes/${index}`), image.decode()]);
      masks = await masksOf(sheet);
    } catch (error) {
      if (state.wanted === index) say(`${images[index].name} cannot be shown: ${error.message}`, true);
      return;
    }
    if (state.wanted !== index) return; // another one was asked for meanwhile
    if (!keep) state.regions = [];
    Object.assign(state, { index, image, answer: null, stroke: null });
    reveal(get("images").children[index]);
    get("name").textContent = images[index].name;
    take(sheet, masks);
    fit();
    saying();
    later();
  }

  // Painted pixels as images in the colours of their classes, each made once.
  async function masksOf(sheet) {
    const masks = new Map();
    await Promise.all([...sheet.locked, ...sheet.own].filter((one) => one.mask).map(async (one) => {
      const key = keyOf(one);
      if (masks.has(key)) return;
      masks.set(key, state.masks.get(key) || tinted(await decoded(one.mask), colour(one.tag)));
    }));
    return masks;
  }

  const keyOf = (one) => colour(one.tag) + one.mask;

  function tinted(mask, ink) {
    const made = new OffscreenCanvas(mask.width, mask.height);
    const paint = made.getContext("2d");
    paint.drawImage(mask, 0, 0);
    paint.globalCompositeOperation = "source-in";
    paint.fillStyle = ink;
    paint.fillRect(0, 0, mask.width, mask.height);
    return made;
  }

  function take(sheet, masks) {
    Object.assign(state, { sheet, masks });
    state.folder.images[state.index].strokes = sheet.locked.length + sheet.own.length;
    const changed = differs(sheet.classes);
    if (!changed) state.folder.counts = sheet.counts;
    showCounts();
    showImages();
    showTools();
    draw();
    offerAnswer();
    if (changed) look();
  }

  async function decoded(source) {
    const image = new Image();
    image.src = source;
    await image.decode();
    return image;
  }

  // Drawing

  const brush = () => get("brush").value;
  const colour = (tag) => {
    const place = state.folder.classes.indexOf(tag);
    return place < 0 ? "#ffffff" : state.folder.colours[place];
  };

  function draw() {
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth * ratio, canvas.clientHeight * ratio];
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, width, height);
    if (!state.image) return;
    const scale = state.zoom * ratio;
    context.setTransform(scale, 0, 0, scale, state.x * ratio, state.y * ratio);
    context.imageSmoothingEnabled = state.zoom < 2;
    const { width: across, height: down } = state.folder.images[state.index];
    context.drawImage(state.image, 0, 0, across, down);
    if (state.answer && get("show-answer").checked) {
      context.globalAlpha = get("strength").value / 100;
      context.imageSmoothingEnabled = false;
      context.drawImage(state.answer, 0, 0, across, down);
      context.globalAlpha = 1;
    }
    for (const one of state.sheet.locked) stroke(one, true);
    for (const one of state.sheet.own) stroke(one, false);
    if (state.stroke) {
      const { way, tool, tag, width } = state.stroke;
      if (tool === "erase") path([way], "rgba(255,255,255,.6)", width || ERASER);
      else path([way], colour(tag), width || 0);
    }
    context.lineWidth = 2 / state.zoom;
    context.strokeStyle = "#ff00ff";
    for (const one of state.regions) context.strokeRect(one.left, one.top, one.width, one.height);
  }

  function stroke(one, locked) {
    const mask = one.mask && state.masks.get(keyOf(one)); // not yet, where the colours are new
    if (mask) {
      context.globalAlpha = locked ? 0.6 : 0.9;
      context.imageSmoothingEnabled = false;
      context.drawImage(mask, one.left, one.top);
      context.globalAlpha = 1;
    }
    path(one.lines, colour(one.tag), 0, locked);
  }

  // A line of the data set's width is shown with a rim, as wide on every zoom.
  function path(lines, ink, width, dashed = false) {
    context.lineCap = context.lineJoin = "round";
    for (const points of lines) {
      context.beginPath();
      points.forEach(([x, y], place) => (place ? context.lineTo(x, y) : context.moveTo(x, y)));
      if (points.length === 1) context.lineTo(points[0][0] + 0.01, points[0][1]);
      for (const [wide, style] of width ? [[width, ink]] : [[5 / state.zoom, "#ffffff"], [3 / state.zoom, ink]]) {
        context.setLineDash(dashed && style === ink ? [6 / state.zoom, 5 / state.zoom] : []);
        context.lineWidth = wide;
        context.strokeStyle = style;
        context.stroke();
      }
    }
    context.setLineDash([]);
  }

  // Changes: sent one after the other, each for the image it was made on.

  let queue = Promise.resolve();
  let pending = 0;
  let failed = "";

  function saying() {
    if (failed) say(failed, true);
    else say(pending ? "saving …" : "saved");
  }

  // What is sent is asked for when it is its turn: an undo depends on what was done before.
  function change(index, body, kind = "new") {
    pending += 1;
    failed = "";
    saying();
    queue = queue.then(async () => {
      try {
        const asked = body();
        if (!asked) return;
        const found = await ask(`/api/strokes/${index}`, asked);
        if (kind !== "new") (kind === "undo" ? state.undo : state.redo).get(index).pop();
        const done = { added: found.added, removed: found.removed };
        if (done.added.length || done.removed.length) {
          const to = kind === "undo" ? state.redo : state.undo;
          to.set(index, [...(to.get(index) || []), done]);
          if (kind === "new") state.redo.set(index, []);
        }
        const masks = await masksOf(found);
        if (state.index === index) take(found, masks);
        later();
      } catch (error) {
        failed = `not saved: ${error.message}`;
        draw();
        await look(); // the class may have another name now
      } finally {
        pending -= 1;
        saying();
      }
    });
  }

  function showTools() {
    const any = (from) => (from.get(state.index) || []).length > 0;
    get("undo").disabled = !any(state.undo);
    get("redo").disabled = !any(state.redo);
    get("clear").disabled = !state.sheet.own.length;
  }

  function back(from, kind) {
    const index = state.index;
    change(index, () => {
      const last = (from.get(index) || []).at(-1);
      return last && { kind: "undo", ...last };
    }, kind);
  }

  window.addEventListener("beforeunload", (event) => { if (pending) event.preventDefault(); });

  // Another window may have drawn here, too.
  setInterval(async () => {
    if (document.hidden || state.stroke || pending || !state.image) return;
    const index = state.index;
    try {
      const found = await ask(`/api/strokes/${index}`);
      const masks = await masksOf(found);
      if (state.index === index && !pending && (found.revision > state.sheet.revision || differs(found.classes))) {
        take(found, masks);
        later();
      }
    } catch (error) {
      say(`bpg draw does not answer; start it again (${error.message})`, true);
    }
  }, 3000);

  // The answer, a moment after the last change

  const timers = []; // of what follows a change, until the next one
  let asking = false;
  function later() {
    timers.splice(0).forEach(clearTimeout);
    if (get("show-answer").checked) timers.push(setTimeout(answer, 250));
  }

  async function answer() {
    if (asking) return later(); // one at a time, and the last one counts
    if (state.index < 0) return;
    const index = state.index;
    asking = true;
    try {
      const found = await ask(`/api/answer/${index}`);
      if (state.index !== index) return;
      state.answer = await decoded(found.labels);
      const took = found.seconds < 0.05 ? "" : `, ${found.seconds} s`; // it was there already
      get("answer-says").textContent = `${found.by}${took}${found.by === "forest" ? "; it looks at colours and texture alone" : ""}`;
      draw();
      timers.push(setTimeout(() => score(index), 500));
      if (get("unsure").children.length) timers.push(setTimeout(next, 2000));
    } catch (error) {
      state.answer = null;
      get("answer-says").textContent = error.message;
      get("score-says").textContent = "";
      draw();
    } finally {
      asking = false;
    }
  }

  async function score(index) {
    let found;
    try {
      found = await ask(`/api/score/${index}`);
    } catch (error) {
      get("score-says").textContent = error.message;
      return;
    }
    const { miou, measured_on: on, images } = found;
    const few = images !== null && images < drawn() ? `, from ${images} of ${drawn()} images` : "";
    const none = images === null ? "" : "draw more strokes for a score";
    get("score-says").textContent = miou === null ? none : `mIoU ${miou.toFixed(1)} on ${on}${few}`;
  }

  // The first answer comes by itself, unless the box was used.
  function offerAnswer() {
    const box = get("show-answer");
    if (box.dataset.used || box.checked) return;
    const { counts, by } = state.folder;
    if (by === "network" || counts.filter((count) => count).length > 1) {
      box.checked = true;
      later();
    }
  }

  async function chooseModel(by) {
    get("answer-says").textContent = by === "network" ? "loading the network …" : "";
    get("score-says").textContent = "";
    try {
      await ask("/api/model", { by });
      state.folder.by = get("by").value = by;
      get("show-answer").checked = true;
      later();
    } catch (error) {
      get("by").value = state.folder.by;
      get("answer-says").textContent = error.message;
    }
  }

  async function next() {
    if (!get("unsure").children.length) get("next-says").textContent = "looking …";
    try {
      const found = await ask("/api/next");
      const of = state.folder.images.length;
      get("next-says").textContent = `The least sure of ${found.length < of ? `${found.length} images, of ${of},` : "the images;"} frames show where to draw:`;
      get("unsure").replaceChildren(...found.slice(0, UNSURE).map((one) => {
        const item = document.createElement("li");
        const likely = one.regions.length ? `, ${one.regions[0].likely.join(" or ")}?` : "";
        const button = element("button", `${state.folder.images[one.index].name}: ${one.uncertainty} % unsure${likely}`, { type: "button" });
        button.addEventListener("click", () => { state.regions = one.regions; open(one.index, true); });
        item.append(button);
        return item;
      }));
    } catch (error) {
      get("next-says").textContent = error.message;
    }
  }

  // A training: the commands that one would type, and what they say

  // How long it takes, and what is missing.
  function plan() {
    const { classes, counts, passes: usual, most_epochs: most, trains } = state.folder;
    if (!trains) return;
    const images = drawn();
    if (!get("epochs").dataset.typed) {
      get("epochs").value = images ? Math.min(most, Math.ceil(usual / images)) : "";
    }
    const epochs = Number(get("epochs").value);
    const sound = Number.isInteger(epochs) && epochs >= 1;
    const passes = images * epochs;
    const minutes = Math.ceil((passes / state.folder.images_per_second + state.folder.seconds_beside) / 60);
    const few = classes.filter((name, place) => counts[place] < 2);
    const missing = few.length ? ` Fewer than two strokes: ${few.join(", ")}.` : "";
    if (!images) write(get("plan"), "Draw on some images first.");
    else if (!sound) write(get("plan"), "Give a whole number of epochs.");
    else write(get("plan"), `About ${minutes} minutes on two CPU cores: ${images} ${images > 1 ? "images" : "image"}, ${passes.toLocaleString("en")} in all.${missing}`);
    get("start").disabled = !images || !sound;
  }

  let watching;
  let trained; // whether there is a network of these strokes
  let asked = 0;

  // How far it is: a stage of DVC, and a progress bar such as
  // "epochs: 62%|███ | 1240/2000 [07:10<04:20, 2.9image/s]".
  function bar(said) {
    const begun = said.lastIndexOf("Running stage '");
    const [, stage] = /'([^'@]+)/.exec(said.slice(begun)) || [];
    const [, share, left] = [...said.slice(Math.max(0, begun)).matchAll(/(\d+)%\|.*?<([\d:]+)/g)].at(-1) || [];
    return (begun >= 0 ? `stage ${stage.replaceAll("_", " ")}` : "") + (share ? `: ${share} %, ${left} left` : "");
  }

  async function train(action) {
    clearTimeout(watching);
    const turn = ++asked;
    let wait = 10_000; // another window may start one
    const says = get(action === "export" ? "export-says" : "train-says");
    try {
      const found = action
        ? await ask("/api/train", action === "start" ? { action, epochs: Number(get("epochs").value) } : { action })
        : await ask("/api/train");
      if (turn !== asked) return; // a later one says more
      get("by").options[1].disabled = !found.trained && !state.folder.given;
      const loaded = trained === undefined && state.folder.by === "network";
      if (found.trained && !trained && !loaded) chooseModel("network");
      trained = found.trained;
      get("start").hidden = found.running;
      get("stop").hidden = !found.running;
      get("trained").hidden = found.running || !found.trained;
      get("export").disabled = found.export.running;
      get("said").hidden = !found.said;
      get("said").textContent = found.said;
      get("said").scrollTop = get("said").scrollHeight;
      const score = found.score === null ? "" : `: mIoU ${found.score.toFixed(1)} on ${found.measured_on}`;
      const outcome = found.status === 0 ? `done${score}. Intervals and classes: results/summary.md` : `stopped, or failed with status ${found.status}: see below`;
      get("train-says").textContent = found.running ? `training … ${bar(found.said)}` : found.status === null ? "" : outcome;
      get("progress").textContent = found.running ? get("train-says").textContent : "";
      const { running, status, last, file } = found.export;
      const failed = status ? `the export failed: ${last}` : "";
      get("export-says").textContent = running ? "exporting, and comparing with the network …" : file ? `${file}: ${last.replace(/^\S+: /, "")}. To use it, in the checkout:` : failed;
      get("command").textContent = `bpg predict ${state.folder.argument} --model model.onnx --out masks --overlay --crf`;
      get("to-use").hidden = running || !file;
      if (found.running || running) wait = 2000;
    } catch (error) {
      says.textContent = error.message;
    }
    if (turn === asked) watching = setTimeout(train, wait);
  }

  // Pointers: one draws, two move and zoom

  const pointers = new Map();
  let pen = null; // while it is down, fingers and the palm do nothing
  let moving = false;
  let blank = false;

  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const inImage = ([x, y]) => [(x - state.x) / state.zoom, (y - state.y) / state.zoom];
  const rounded = (points) => points.map((point) => point.map((value) => Math.round(value * 100) / 100));

  canvas.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "pen") {
      pen = event.pointerId;
      pointers.clear();
    } else if (pen !== null) return;
    canvas.setPointerCapture(event.pointerId);
    canvas.focus({ preventScroll: true });
    pointers.set(event.pointerId, place(event));
    moving = pointers.size > 1 || event.button === 1 || blank;
    const point = inImage(place(event));
    const { width, height } = state.folder.images[state.index] || { width: 0, height: 0 };
    const within = point[0] >= 0 && point[1] >= 0 && point[0] <= width && point[1] <= height;
    // All that it is drawn with, as it is now: keys may be pressed meanwhile.
    state.stroke = moving || event.button > 1 || !within ? null : {
      index: state.index, tool: state.tool, tag: state.folder.classes[state.tag],
      width: brush() ? Number(brush()) : null, way: [point],
    };
    event.preventDefault();
    draw();
  });

  canvas.addEventListener("pointermove", (event) => {
    if (!pointers.has(event.pointerId)) return;
    const before = [...pointers.values()];
    const events = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
    pointers.set(event.pointerId, place(event));
    const after = [...pointers.values()];
    if (moving) {
      const middle = (list) => [0, 1].map((axis) => list.reduce((sum, one) => sum + one[axis], 0) / list.length);
      const spread = (list) => (list.length < 2 ? 1 : Math.hypot(list[0][0] - list[1][0], list[0][1] - list[1][1]) || 1);
      const [from, to] = [middle(before), middle(after)];
      zoomAt(from, spread(after) / spread(before));
      state.x += to[0] - from[0];
      state.y += to[1] - from[1];
    } else if (state.stroke) {
      const { way } = state.stroke;
      for (const one of events.length ? events : [event]) {
        const point = inImage(place(one));
        const last = way[way.length - 1];
        // A pixel and a half on the screen is as far as a hand is meant.
        if (Math.hypot(point[0] - last[0], point[1] - last[1]) * state.zoom > 1.5) way.push(point);
      }
    }
    draw();
  });

  function end(event, cancelled) {
    if (event.pointerId === pen) pen = null;
    if (!pointers.delete(event.pointerId)) return;
    const drawn = state.stroke;
    state.stroke = null;
    if (pointers.size === 0) moving = false;
    if (!drawn || cancelled) return draw();
    const point = inImage(place(event));
    if (Math.hypot(...point.map((value, axis) => value - drawn.way.at(-1)[axis])) > 0) drawn.way.push(point);
    const points = rounded(drawn.way);
    const { index, tool, tag, width } = drawn;
    const body = tool === "erase"
      ? { kind: "erase", points, brush: width || ERASER }
      : { kind: "add", tag, points, brush: width };
    change(index, () => body);
    draw();
  }
  canvas.addEventListener("pointerup", (event) => end(event, false));
  canvas.addEventListener("pointercancel", (event) => end(event, true));
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoomAt(place(event), Math.exp(-event.deltaY / 400));
    draw();
  }, { passive: false });

  function zoomAt([x, y], factor) {
    const zoom = Math.min(40, Math.max(0.05, state.zoom * factor));
    state.x = x - (x - state.x) * (zoom / state.zoom);
    state.y = y - (y - state.y) * (zoom / state.zoom);
    state.zoom = zoom;
  }

  function fit() {
    const { width, height } = state.folder.images[state.index];
    state.zoom = Math.min(canvas.clientWidth / width, canvas.clientHeight / height) * 0.96;
    state.x = (canvas.clientWidth - width * state.zoom) / 2;
    state.y = (canvas.clientHeight - height * state.zoom) / 2;
    draw();
  }

  const middle = () => [canvas.clientWidth / 2, canvas.clientHeight / 2];
  const zoom = (factor) => { zoomAt(middle(), factor); draw(); };

  // Buttons and keys

  get("tool-draw").addEventListener("click", () => pick("draw"));
  get("tool-erase").addEventListener("click", () => pick("erase"));
  get("rename").addEventListener("click", rename);
  get("remove").addEventListener("click", () => changeClass({ kind: "remove", name: state.folder.classes[state.tag] }));
  get("clear").addEventListener("click", () => change(state.index, () => ({ kind: "clear" })));
  get("epochs").addEventListener("input", () => {
    get("epochs").dataset.typed = "yes";
    plan();
  });
  get("epochs").addEventListener("blur", () => {
    if (!get("epochs").value.trim()) delete get("epochs").dataset.typed; // what is proposed, again
    plan();
  });
  get("undo").addEventListener("click", () => back(state.undo, "undo"));
  get("redo").addEventListener("click", () => back(state.redo, "redo"));
  get("previous").addEventListener("click", () => open(state.wanted - 1));
  get("following").addEventListener("click", () => open(state.wanted + 1));
  get("in").addEventListener("click", () => zoom(1.25));
  get("out").addEventListener("click", () => zoom(0.8));
  get("fit").addEventListener("click", fit);
  get("next").addEventListener("click", next);
  get("copy").addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(get("command").textContent);
      get("copy").textContent = "Copied";
    } catch {
      window.getSelection().selectAllChildren(get("command")); // to be copied by hand
    }
  });
  for (const action of ["start", "stop", "export"]) get(action).addEventListener("click", () => train(action));
  get("brush").addEventListener("change", () => get("brush").blur());
  get("strength").addEventListener("input", draw);
  get("show-answer").addEventListener("change", () => {
    get("show-answer").dataset.used = "yes";
    draw();
    later();
  });
  get("by").addEventListener("change", () => {
    get("by").blur(); // keys are for drawing again
    chooseModel(get("by").value);
  });
  get("new-class").addEventListener("submit", async (event) => {
    event.preventDefault();
    if (!(await changeClass({ kind: "add", name: get("class-name").value }))) return;
    get("class-name").value = "";
    get("class-name").blur(); // keys are for drawing again
    choose(state.folder.classes.length - 1);
  });

  const keys = {
    b: () => pick("draw"), e: () => pick("erase"), a: () => open(state.wanted - 1), d: () => open(state.wanted + 1),
    "+": () => zoom(1.25), "=": () => zoom(1.25), "-": () => zoom(0.8), 0: fit,
    r: () => get("show-answer").click(),
    "[": () => step(-1), "]": () => step(1),
  };
  function step(by) {
    const list = get("brush");
    list.selectedIndex = Math.min(list.length - 1, Math.max(0, list.selectedIndex + by));
  }
  document.addEventListener("keydown", (event) => {
    if (event.target.matches("input:not([type]), select")) return;
    const key = event.key.toLowerCase();
    if ((event.ctrlKey || event.metaKey) && (key === "z" || key === "y")) {
      event.preventDefault();
      if (key === "y" || event.shiftKey) back(state.redo, "redo");
      else back(state.undo, "undo");
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (key === " " && event.target === canvas) { blank = true; event.preventDefault(); }
    else if (/^[1-9]$/.test(key)) choose(Number(key) - 1);
    else if (keys[key]) { keys[key](); event.preventDefault(); }
  });
  document.addEventListener("keyup", (event) => { if (event.key === " ") blank = false; });
  new ResizeObserver(draw).observe(canvas);

  try {
    state.folder = await ask("/api/folder");
    if (state.folder.classes.length > 1) state.tag = 1;
    showFolder();
    if (state.folder.problems.length) {
      const more = state.folder.problems.length - 1;
      get("problems").textContent = state.folder.problems[0] + (more ? ` (and ${more} more)` : "");
    }
    get("by").options[1].disabled = !state.folder.given;
    get("by").value = state.folder.by;
    get("train").hidden = !state.folder.trains;
    if (state.folder.trains) train();
    await open(Math.max(0, state.folder.images.findIndex((one) => !one.strokes)));
  } catch (error) {
    say(error.message, true);
  }
})();
