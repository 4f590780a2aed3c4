"use strict";
const filter = document.getElementById("filter");
const none = document.getElementById("none");
const groups = [...document.querySelectorAll("nav .group")];

function show() {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  let any = false;
  for (const group of groups) {
    let here = false;
    for (const item of group.querySelectorAll("li")) {
      const found = words.every((word) => item.dataset.find.includes(word));
      item.hidden = !found;
      here = here || found;
    }
    group.hidden = !here;
    any = any || here;
  }
  none.hidden = any;
}

filter.addEventListener("input", show);
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && document.activeElement !== filter) {
    event.preventDefault();
    filter.focus();
  }
});
