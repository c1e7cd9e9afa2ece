"use strict";
{
  const page = document.documentElement;
  page.classList.add("with-script");

  // --- light and dark -----------------------------------------------------------------------------------------------
  const theme = document.getElementById("theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (page.dataset.theme ? page.dataset.theme === "dark" : dark.matches);
  const tell = () => {
    theme.textContent = isDark() ? "Light page" : "Dark page";
    theme.setAttribute("aria-pressed", String(Boolean(page.dataset.theme)));
  };
  theme.addEventListener("click", () => {
    page.dataset.theme = isDark() ? "light" : "dark";
    tell();
  });
  dark.addEventListener("change", tell);
  tell();

  // --- the numbers of a chart, under the pointer or by the arrow keys ------------------------------------------------
  const note = document.createElement("div");
  note.className = "note";
  note.setAttribute("role", "status");
  note.hidden = true;
  document.body.append(note);

  const show = (mark) => {
    note.textContent = mark.dataset.says;
    note.hidden = false;
    const place = mark.getBoundingClientRect();
    const middle = place.left + place.width / 2 - note.offsetWidth / 2;
    const right = page.clientWidth - note.offsetWidth - 8;
    note.style.left = `${scrollX + Math.max(8, Math.min(middle, right))}px`;
    note.style.top = `${scrollY + place.top - note.offsetHeight - 8}px`;
  };
  const hide = () => { note.hidden = true; };

  const nearest = (marks, event) => {
    const distance = (mark) => {
      const place = mark.getBoundingClientRect();
      return Math.hypot(place.left + place.width / 2 - event.clientX, place.top + place.height / 2 - event.clientY);
    };
    const best = marks.reduce((one, other) => (distance(one) <= distance(other) ? one : other));
    return distance(best) < 40 ? best : null;
  };

  for (const chart of document.querySelectorAll(".chart > svg")) {
    const marks = Array.from(chart.querySelectorAll("title"), (title) => {
      const mark = title.parentNode;
      mark.dataset.says = title.textContent;
      title.remove();
      return mark;
    });
    if (!marks.length) continue;
    let chosen = -1;
    chart.addEventListener("pointermove", (event) => {
      const mark = nearest(marks, event);
      if (mark) show(mark); else hide();
    });
    chart.addEventListener("pointerleave", hide);
    chart.addEventListener("blur", hide);
    chart.addEventListener("focus", () => {
      chosen = Math.max(chosen, 0);
      show(marks[chosen]);
    });
    chart.addEventListener("keydown", (event) => {
      const way = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (event.key === "Escape") hide();
      if (!way) return;
      event.preventDefault();
      chosen = (chosen + way + marks.length) % marks.length;
      show(marks[chosen]);
    });
  }

  // --- pictures: the step of the slider, the class whose attention is asked for --------------------------------------
  const slider = document.getElementById("step");
  const labels = Array.from(document.querySelectorAll("#steps option"), (option) => option.label);

  const update = (example) => {
    const step = slider ? Number(slider.value) : 0;
    const pressed = example.querySelector("[aria-pressed=true]");
    for (const figure of example.querySelectorAll("[data-step]")) {
      const at = Number(figure.dataset.step);
      const isBefore = figure.classList.contains("attended") && at === step - 1;
      const isAsked = !figure.dataset.class || (pressed && pressed.dataset.class === figure.dataset.class);
      figure.hidden = !(isAsked && (at === step || isBefore));
    }
  };
  const examples = Array.from(document.querySelectorAll(".example, .pictures"));
  const move = () => {
    if (slider) {
      slider.setAttribute("aria-valuetext", `step ${labels[slider.value]}`);
      slider.parentNode.querySelector("output").textContent = labels[slider.value];
    }
    examples.forEach(update);
  };
  if (slider) slider.addEventListener("input", move);

  const colourAt = (picture, event) => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [picture.naturalWidth, picture.naturalHeight];
    const pen = canvas.getContext("2d");
    pen.drawImage(picture, 0, 0);
    const place = picture.getBoundingClientRect();
    const across = ((event.clientX - place.left) / place.width) * canvas.width;
    const down = ((event.clientY - place.top) / place.height) * canvas.height;
    return `rgb(${pen.getImageData(across, down, 1, 1).data.slice(0, 3).join(", ")})`;
  };
  for (const example of examples) {
    const chips = Array.from(example.querySelectorAll(".chips button"));
    const choose = (chip) => {
      const wanted = chip.getAttribute("aria-pressed") !== "true";
      for (const other of chips) other.setAttribute("aria-pressed", String(wanted && other === chip));
      update(example);
    };
    for (const chip of chips) chip.addEventListener("click", () => choose(chip));
    const truth = example.querySelector(".truth img");
    if (!chips.length || !truth) continue;
    truth.addEventListener("click", (event) => {
      const colour = colourAt(truth, event);
      const chip = chips.find((one) => one.querySelector(".swatch").style.backgroundColor === colour);
      if (chip) choose(chip);
    });
  }
  move();
}
