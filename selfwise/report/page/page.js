
"use strict";
(() => {
  // One card for all: what is pointed at, touched or reached by keys shows its picture and words.
  const card = document.getElementById("card");
  const [picture, words] = [card.querySelector("img"), card.querySelector("p")];

  function show(text, image, x, y) {
    words.textContent = text;
    picture.hidden = !image;
    if (image) {
      picture.src = image.uri;
      picture.alt = image.alt;
    }
    card.hidden = false;
    const box = card.getBoundingClientRect();
    const [right, low] = [innerWidth - box.width - 8, innerHeight - box.height - 8];
    const left = x + 18 > right ? x - box.width - 18 : x + 18;
    const top = y + 18 > low ? y - box.height - 18 : y + 18;
    card.style.transform = `translate(${Math.max(8, Math.min(left, right))}px, ${Math.max(8, Math.min(top, low))}px)`;
  }

  function hide() {
    card.hidden = true;
  }

  for (const token of document.querySelectorAll("[title].token")) {
    const hint = token.title;
    token.removeAttribute("title"); // or there would be two
    token.setAttribute("aria-description", hint);
    const at = () => {
      const box = token.getBoundingClientRect();
      show(hint, null, box.left, box.bottom - 8);
    };
    token.addEventListener("pointerenter", at);
    token.addEventListener("focus", at);
    token.addEventListener("pointerleave", hide);
    token.addEventListener("blur", hide);
  }

  for (const figure of document.querySelectorAll("[data-map]")) {
    const data = JSON.parse(document.getElementById(figure.dataset.map).textContent);
    const drawing = figure.querySelector(".points");
    const marks = [...drawing.querySelectorAll("path")];
    const spoken = figure.querySelector(".spoken");
    const where = marks.map((mark) => {
      const { e, f } = mark.transform.baseVal.consolidate().matrix;
      mark.querySelector("title").remove();
      return [e, f];
    });
    const faded = new Set();
    let chosen = -1;

    const said = (i) => [data.names[i], data.groups[i]].filter(Boolean).join("\n");

    function choose(i) {
      if (chosen >= 0) marks[chosen].classList.remove("chosen");
      chosen = i;
      if (i < 0) return hide();
      marks[i].classList.add("chosen");
      drawing.append(marks[i]); // drawn last, so that it is on top
      const box = marks[i].getBoundingClientRect();
      show(said(i), data.pictures[i], box.left + box.width / 2, box.top + box.height / 2);
    }

    function nearest(event) {
      const matrix = drawing.getScreenCTM();
      const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix.inverse());
      const reach = 22 / matrix.a;
      let [best, least] = [-1, reach * reach];
      where.forEach(([x, y], i) => {
        const far = (x - at.x) ** 2 + (y - at.y) ** 2;
        if (far < least && !faded.has(i)) [best, least] = [i, far];
      });
      return best;
    }

    // the nearest point in a direction: across counts twice, so that a way stays straight
    function beside(dx, dy) {
      const [x0, y0] = where[chosen];
      let [best, least] = [chosen, Infinity];
      where.forEach(([x, y], i) => {
        const along = (x - x0) * dx + (y - y0) * dy;
        const across = Math.abs((x - x0) * dy) + Math.abs((y - y0) * dx);
        if (i === chosen || faded.has(i) || along <= 0 || across > 2 * along) return;
        if (along + 2 * across < least) [best, least] = [i, along + 2 * across];
      });
      return best;
    }

    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    drawing.addEventListener("keydown", (event) => {
      if (event.key === "Escape") return choose(-1);
      if (!(event.key in steps)) return;
      event.preventDefault();
      const first = where.findIndex((_, i) => !faded.has(i));
      choose(chosen < 0 ? first : beside(...steps[event.key]));
      if (chosen >= 0) spoken.textContent = said(chosen).replace("\n", ", ");
    });
    drawing.addEventListener("pointermove", (event) => choose(nearest(event)));
    drawing.addEventListener("pointerdown", (event) => choose(nearest(event)));
    drawing.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && choose(-1));
    drawing.addEventListener("blur", () => choose(-1));

    const buttons = [...figure.querySelectorAll(".legend button")];
    for (const button of buttons) {
      button.addEventListener("click", () => {
        const only = button.getAttribute("aria-pressed") === "false" ? button.dataset.group : null;
        for (const other of buttons) other.setAttribute("aria-pressed", other.dataset.group === only);
        faded.clear();
        marks.forEach((mark, i) => {
          const fades = only !== null && data.groups[i] !== only;
          mark.classList.toggle("faded", fades);
          if (fades) faded.add(i);
        });
      });
    }
  }
  addEventListener("scroll", hide, { passive: true });
})();
