// The viewer: two layers of an image, divided by a line that moves.
"use strict";
(() => {
  const root = document.querySelector(".viewer");
  if (!root) return;
  const shots = JSON.parse(document.getElementById("shots").textContent);
  const [left, right] = ["left", "right"].map((name) => document.getElementById(name));
  const divide = document.getElementById("divide");
  const mix = document.getElementById("mix");
  const stage = root.querySelector(".stage");
  const [below, above, photo] = [".below", ".above", ".photo"].map((name) => stage.querySelector(name));
  const edge = stage.querySelector(".edge");
  const notes = root.querySelector(".notes");
  const list = root.querySelector(".shots");
  let shot = shots[0];

  const layer = (name) => shot.layers.find(([own]) => own === name) || shot.layers[0];

  function fill(select, wanted) {
    select.replaceChildren(...shot.layers.map(([name]) => new Option(name, name)));
    const found = wanted.find((name) => shot.layers.some(([own]) => own === name));
    select.value = found === undefined ? shot.layers[0][0] : found;
  }

  function show() {
    const [one, other] = [layer(left.value), layer(right.value)];
    below.src = other[2];
    below.alt = `${shot.name}: ${other[0]}`;
    above.src = one[2];
    above.alt = `${shot.name}: ${one[0]}`;
    photo.src = shot.layers[0][2];
    photo.style.opacity = mix.value / 100;
    above.style.clipPath = `inset(0 ${100 - divide.value}% 0 0)`;
    edge.style.left = `${divide.value}%`;
    const say = ([name, note]) => (note ? `${name}: ${note}` : name);
    notes.textContent = `${shot.name} (${shot.why}). Left: ${say(one)}. Right: ${say(other)}.`;
  }

  function choose(index) {
    const before = [left.value, right.value];
    shot = shots[index];
    [...list.children].forEach((button, place) => button.setAttribute("aria-pressed", place === index));
    fill(left, [before[0], "image"]);
    fill(right, [before[1], root.dataset.first, "truth"]);
    show();
  }

  shots.forEach((one, index) => {
    const button = document.createElement("button");
    button.type = "button";
    const image = document.createElement("img");
    image.src = one.layers[0][2];
    image.alt = "";
    button.append(image, one.why);
    button.setAttribute("aria-label", `${one.name}, ${one.why}`);
    button.addEventListener("click", () => choose(index));
    list.append(button);
  });
  for (const input of [left, right, divide, mix]) input.addEventListener("input", show);

  // The line follows a pointer that is pressed; up and down go through the layers on the right.
  stage.addEventListener("pointerdown", (event) => { stage.setPointerCapture(event.pointerId); move(event); });
  stage.addEventListener("pointermove", (event) => { if (event.buttons) move(event); });
  function move(event) {
    const box = stage.getBoundingClientRect();
    divide.value = Math.round((100 * (event.clientX - box.left)) / box.width);
    show();
  }
  stage.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -5, ArrowRight: 5 }[event.key];
    const next = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (step) divide.value = Number(divide.value) + step;
    else if (next) right.selectedIndex = (right.selectedIndex + next + right.length) % right.length;
    else return;
    event.preventDefault();
    show();
  });
  choose(0);
})();
