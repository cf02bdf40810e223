// Behaviour of the page that needs no server, and the way from clicks inside HTML to Python:
// each `bridge-*` component registers a function in window.assistantBridges.
(() => {
  "use strict";
  const THEME_KEY = "assistant.theme";
  const LANGUAGE_COOKIE = "assistant_language";
  const YEAR_SECONDS = 31536000;
  const CONFIRM_MS = 4000;
  const READY_LIMIT_MS = 6000;
  const PHONE = "(max-width: 760px)";

  const find = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const send = (name, data) => window.assistantBridges?.[name]?.(data);
  const state = () => find("#top .state")?.dataset ?? {};
  const questionBox = () => find("#question textarea");

  // --- theme: the system's, until the person chooses ----------------------------------------
  const systemTheme = matchMedia("(prefers-color-scheme: dark)");
  const chosenTheme = () => {
    try {
      return localStorage.getItem(THEME_KEY);
    } catch {
      return null; // storage may be forbidden; the system's theme then stays
    }
  };
  const applyTheme = () => {
    const dark = (chosenTheme() ?? (systemTheme.matches ? "dark" : "light")) === "dark";
    document.documentElement.style.colorScheme = dark ? "dark" : "light";
    if (document.body.classList.contains("dark") !== dark) {
      document.body.classList.toggle("dark", dark);
    }
  };
  const switchTheme = () => {
    const next = document.body.classList.contains("dark") ? "light" : "dark";
    try {
      localStorage.setItem(THEME_KEY, next);
    } catch {
      document.body.classList.toggle("dark");
    }
    applyTheme();
  };

  // --- views --------------------------------------------------------------------------------
  const showView = (name) => {
    const view = name === "documents" ? "documents" : "chat";
    document.body.dataset.view = view;
    document.body.classList.remove("drawer");
    for (const button of all("#top .views [data-view]")) {
      const current = button.dataset.view === view;
      current ? button.setAttribute("aria-current", "page") : button.removeAttribute("aria-current");
    }
    history.replaceState(null, "", view === "chat" ? location.pathname : "#documents");
    if (view === "documents") send("view", { view });
  };

  // --- evidence -----------------------------------------------------------------------------
  let wantedCite = null;
  const markCites = (turn, cite) => {
    for (const button of all("#chatbot .cite")) {
      const current = button.dataset.turn === turn && button.dataset.cite === cite;
      button.classList.toggle("active", current);
    }
  };
  const showCard = (turn, cite) => {
    const panel = find(`#evidence .evidence[data-turn="${turn}"]`);
    const card = panel && find(`[data-evidence~="${cite}"]`, panel);
    if (!card) return false;
    for (const other of all(".card.active", panel)) other.classList.remove("active");
    card.classList.add("active");
    for (const mark of all("mark", panel)) mark.classList.toggle("active", mark.dataset.mark === cite);
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const place = find("mark.active", card) ?? card;
    place.scrollIntoView({
      block: matchMedia(PHONE).matches ? "center" : "nearest",
      behavior: still ? "auto" : "smooth",
    });
    card.focus({ preventScroll: true });
    return true;
  };
  const openEvidence = (turn, cite) => {
    markCites(turn, cite);
    if (showCard(turn, cite)) return;
    wantedCite = { turn, cite };
    send("evidence", { turn: Number(turn) });
  };
  const evidenceChanged = () => {
    if (wantedCite && showCard(wantedCite.turn, wantedCite.cite)) wantedCite = null;
  };

  // --- clicks -------------------------------------------------------------------------------
  const copyAnswer = async (button) => {
    const text = find(".text", button.closest(".answer")).cloneNode(true);
    for (const cite of all(".cite", text)) cite.remove();
    for (const line of all("br", text)) line.replaceWith("\n");
    await navigator.clipboard.writeText(text.textContent.trim());
    const label = button.getAttribute("aria-label");
    button.classList.add("done");
    button.setAttribute("aria-label", state().copied);
    setTimeout(() => {
      button.classList.remove("done");
      button.setAttribute("aria-label", label);
    }, 1500);
  };
  const askToConfirm = (button) => {
    const label = button.innerHTML;
    button.dataset.armed = "yes";
    button.textContent = state().confirm;
    setTimeout(() => {
      delete button.dataset.armed;
      button.innerHTML = label;
    }, CONFIRM_MS);
  };
  const deleteDocument = (button) => {
    if (!button.dataset.armed) return askToConfirm(button);
    send("delete", { id: button.dataset.delete, title: button.dataset.title });
  };
  const chooseLanguage = (language) => {
    document.cookie = `${LANGUAGE_COOKIE}=${language};path=/;max-age=${YEAR_SECONDS};samesite=lax`;
    send("language", { language });
  };
  const answering = () => Boolean(find("#stop")?.offsetParent);
  const ask = (question) => {
    if (answering()) return;
    showView("chat");
    send("ask", { question });
  };
  const backToChat = () => {
    find("#chat-pane")?.scrollIntoView({ block: "start", behavior: "smooth" });
    questionBox()?.focus({ preventScroll: true });
  };
  const toggleDrawer = (open) => {
    document.body.classList.toggle("drawer", open);
    if (document.body.classList.contains("drawer")) find("#history-pane button")?.focus();
  };

  const actions = [
    // Gradio strips data attributes from the greeting: there the text and the class must do.
    [".ask", (b) => ask(b.dataset.ask ?? b.textContent)],
    [".to-documents", () => showView("documents")],
    ["[data-cite]", (b) => openEvidence(b.dataset.turn, b.dataset.cite)],
    ["[data-rate]", (b) => send("rate", { turn: Number(b.dataset.turn), rating: b.dataset.rate })],
    ["[data-copy]", copyAnswer],
    ["[data-delete]", deleteDocument],
    ["[data-open]", (b) => (toggleDrawer(false), send("open", { id: b.dataset.open }))],
    ["[data-language]", (b) => chooseLanguage(b.dataset.language)],
    ["[data-theme-switch]", switchTheme],
    ["button[data-view]", (b) => showView(b.dataset.view)],
    ["[data-drawer]", (b) => toggleDrawer(b.dataset.drawer === "toggle" ? undefined : false)],
    ["[data-back]", backToChat],
    ["[data-focus]", () => questionBox()?.focus()],
    ["#new-conversation", () => (toggleDrawer(false), showView("chat"), questionBox()?.focus())],
  ];
  document.addEventListener("click", (event) => {
    for (const [selector, action] of actions) {
      const button = event.target.closest?.(selector);
      if (!button) continue;
      if (button.matches("a[data-focus]")) event.preventDefault();
      action(button);
      return;
    }
    const outside = !event.target.closest?.("#history-pane");
    if (outside && document.body.classList.contains("drawer")) toggleDrawer(false);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") toggleDrawer(false);
    const typing = event.target.closest?.("input, textarea, [contenteditable]");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      showView("chat");
      questionBox()?.focus();
    }
  });

  // --- what the server has drawn --------------------------------------------------------------
  const becomeReady = () => {
    if (document.body.classList.contains("ready")) return;
    document.body.classList.add("ready");
    // On a phone this would raise the keyboard over the greeting.
    if (!matchMedia(PHONE).matches) questionBox()?.focus();
  };
  let pageLanguage = "";
  const topChanged = () => {
    const { pageLanguage: language, title, drop } = state();
    if (!language) return;
    if (language !== pageLanguage) {
      pageLanguage = language;
      document.documentElement.lang = language;
      document.title = title;
      document.body.style.setProperty("--drop-text", JSON.stringify(drop));
    }
    for (const button of all("#top .views [data-view]")) {
      const current = button.dataset.view === document.body.dataset.view;
      current ? button.setAttribute("aria-current", "page") : button.removeAttribute("aria-current");
    }
  };
  // Gradio names a message by its source text; a screen reader should hear who speaks.
  const nameMessages = () => {
    const { said, answered } = state();
    for (const box of all("#chatbot [data-testid='user'], #chatbot [data-testid='bot']")) {
      const name = box.dataset.testid === "user" ? said : answered;
      if (name && box.getAttribute("aria-label") !== name) box.setAttribute("aria-label", name);
    }
  };
  let pending = false;
  const drawn = () => {
    if (pending) return;
    pending = true;
    requestAnimationFrame(() => {
      pending = false;
      topChanged();
      nameMessages();
      evidenceChanged();
      // The first answer of the server brings the visitor's language: show nothing before.
      if (find("#table .list-head")) becomeReady();
    });
  };

  const start = () => {
    document.body.dataset.view = location.hash === "#documents" ? "documents" : "chat";
    applyTheme();
    systemTheme.addEventListener("change", applyTheme);
    new MutationObserver(applyTheme).observe(document.body, {
      attributes: true,
      attributeFilter: ["class"],
    });
    new MutationObserver(drawn).observe(document.body, { childList: true, subtree: true });
    drawn();
    setTimeout(becomeReady, READY_LIMIT_MS);
  };
  document.body ? start() : addEventListener("DOMContentLoaded", start);
})();
