// The players of the page. Everything listens to the document, as what is shown comes and goes.
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const clock = (s) => `${Math.floor(s / 60)}:${String(Math.floor(s % 60)).padStart(2, "0")}`;
  const lanes = (player) => all(".tb-lane", player);
  const audio = (lane) => lane.querySelector("audio");
  const heard = (player) => player.querySelector(".tb-heard") || lanes(player)[0];
  const shown = () => all(".tb-player").find((player) => player.offsetParent);
  const duration = (lane) => Number(lane.querySelector(".tb-spectrogram").dataset.duration);

  function tune(player) {
    // All lanes run, and one is heard: to change between them makes no gap.
    for (const lane of lanes(player)) {
      audio(lane).volume = Number(lane.dataset.gain);
      audio(lane).muted = lane !== heard(player);
    }
  }
  function seek(player, seconds) {
    for (const lane of lanes(player)) audio(lane).currentTime = Math.min(Math.max(0, seconds), duration(lane));
    draw(player);
  }
  function listen(player, lane) {
    const now = audio(heard(player)).currentTime;
    for (const one of lanes(player)) {
      one.classList.toggle("tb-heard", one === lane);
      one.querySelector(".tb-tag").setAttribute("aria-pressed", String(one === lane));
    }
    if (Math.abs(audio(lane).currentTime - now) > 0.02) audio(lane).currentTime = now;
    tune(player);
  }
  function compare(player) {
    const every = lanes(player);
    listen(player, every[(every.indexOf(heard(player)) + 1) % every.length]);
  }
  function play(player, on = audio(heard(player)).paused) {
    for (const other of all(".tb-player")) if (other !== player) lanes(other).forEach((lane) => audio(lane).pause());
    tune(player);
    const now = audio(heard(player)).currentTime;
    for (const lane of lanes(player)) {
      if (!on) audio(lane).pause();
      else {
        audio(lane).currentTime = now >= duration(heard(player)) - 0.02 ? 0 : now;
        audio(lane).play();
      }
    }
  }
  function draw(player) {
    const sound = audio(heard(player));
    const longest = Math.max(...lanes(player).map(duration));
    for (const lane of lanes(player)) {
      const spectrogram = lane.querySelector(".tb-spectrogram");
      lane.querySelector(".tb-head").style.left = `${(100 * Math.min(sound.currentTime, duration(lane))) / duration(lane)}%`;
      spectrogram.style.width = `${(100 * duration(lane)) / longest}%`;
      spectrogram.setAttribute("aria-valuenow", sound.currentTime.toFixed(2));
      spectrogram.setAttribute("aria-valuetext", `${clock(sound.currentTime)} of ${clock(duration(lane))}`);
    }
    player.querySelector(".tb-time").textContent = `${clock(sound.currentTime)} / ${clock(longest)}`;
    player.querySelector(".tb-play").textContent = sound.paused ? "Play" : "Pause";
  }
  const seconds = (spectrogram, x) => {
    const box = spectrogram.getBoundingClientRect();
    return Math.min(1, Math.max(0, (x - box.left) / box.width)) * Number(spectrogram.dataset.duration);
  };

  // A part that is chosen by dragging goes into the two number fields, which the keyboard reaches as well.
  let from = null;
  function choose(spectrogram, a, b) {
    const [start, end] = [Math.min(a, b), Math.max(a, b)];
    for (const [id, value] of [["gap-start", start], ["gap-end", end]]) {
      const input = document.querySelector(`#${id} input`);
      input.value = value.toFixed(2);
      input.dispatchEvent(new Event("input", { bubbles: true }));
      input.dispatchEvent(new Event("change", { bubbles: true }));
    }
    mark(spectrogram);
  }
  function mark(spectrogram) {
    const [start, end] = ["gap-start", "gap-end"].map((id) => document.querySelector(`#${id} input`).value);
    const span = spectrogram.querySelector(".tb-span");
    const length = Number(spectrogram.dataset.duration);
    span.hidden = start === "" || end === "";
    span.style.left = `${(100 * start) / length}%`;
    span.style.width = `${(100 * Math.max(0, end - start)) / length}%`;
  }

  const on = (name, selector, work) =>
    document.addEventListener(name, (event) => {
      const target = event.target instanceof Element && event.target.closest(selector);
      if (target) work(target, event, target.closest(".tb-player"));
    });
  on("click", ".tb-play", (_, __, player) => play(player));
  on("click", ".tb-switch", (_, __, player) => compare(player));
  on("click", ".tb-tag", (tag, _, player) => listen(player, tag.closest(".tb-lane")));
  on("pointerdown", ".tb-spectrogram", (spectrogram, event, player) => {
    seek(player, seconds(spectrogram, event.clientX));
    if (spectrogram.classList.contains("tb-select")) {
      from = { spectrogram, at: seconds(spectrogram, event.clientX), x: event.clientX };
      spectrogram.setPointerCapture(event.pointerId);
    }
  });
  on("pointermove", ".tb-select", (spectrogram, event) => {
    if (from && Math.abs(event.clientX - from.x) > 4) choose(spectrogram, from.at, seconds(spectrogram, event.clientX));
  });
  document.addEventListener("pointerup", () => (from = null));
  on("input", "#gap-start, #gap-end", () => all(".tb-select").forEach(mark));
  for (const name of ["timeupdate", "play", "pause", "seeked", "loadedmetadata"])
    document.addEventListener(
      name,
      (event) => {
        const player = event.target instanceof Element && event.target.closest(".tb-player");
        if (player) draw(player);
      },
      true,
    );
  (function follow() {
    const player = shown();
    if (player && !audio(heard(player)).paused) draw(player);
    requestAnimationFrame(follow);
  })();

  document.addEventListener("keydown", (event) => {
    const player = shown();
    const typing = event.target.closest("input:not([type=radio], [type=checkbox], [type=range]), textarea, [contenteditable]");
    if (!player || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const onSpectrogram = event.target.closest(".tb-spectrogram");
    if (event.key === "b" || event.key === "B") compare(player);
    else if (event.key === " " && (onSpectrogram || event.target === document.body)) play(player);
    else if (step && onSpectrogram) seek(player, audio(heard(player)).currentTime + step);
    else if (event.key === "Home" && onSpectrogram) seek(player, 0);
    else return;
    event.preventDefault();
  });

  // For a screen reader: what is new, once, and titles of groups as their names.
  function announce() {
    const said = document.getElementById("tb-said");
    for (const news of all("[data-say]:not([data-said])").filter((one) => said && one.offsetParent)) {
      news.dataset.said = "";
      if (said.textContent === news.dataset.say) {
        if (news.matches(".tb-progress")) continue; // the same work, some ticks later
        said.textContent = "";
      }
      setTimeout(() => (said.textContent = news.dataset.say), 50);
    }
    for (const title of all('fieldset > [data-testid="block-info"], .tb-form .block > [data-testid="block-label"]'))
      Object.assign(title.parentElement, { role: "group", ariaLabel: title.textContent.trim() });
  }

  new MutationObserver(() => {
    announce();
    for (const ready of all("[data-follow]")) {
      ready.removeAttribute("data-follow");
      ready.querySelector("a").click();
    }
    for (const player of all(".tb-player:not([data-ready])")) {
      player.dataset.ready = "";
      tune(player);
      draw(player);
      all(".tb-select", player).forEach(mark);
    }
  }).observe(document.documentElement, { childList: true, subtree: true });
})();
