const tip = document.getElementById("tip");
const show = (event) => {
  const text = event.target.dataset && event.target.dataset.tip;
  tip.hidden = !text;
  if (!text) return;
  tip.textContent = text;
  const box = event.target.getBoundingClientRect();
  const x = event.clientX || box.right, y = event.clientY || box.top;
  tip.style.left = Math.max(4, Math.min(x + 12, innerWidth - tip.offsetWidth - 4)) + "px";
  tip.style.top = Math.max(4, y - tip.offsetHeight - 10) + "px";
};
for (const name of ["pointermove", "pointerdown", "focusin"]) document.addEventListener(name, show);
