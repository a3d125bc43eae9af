/* What a test reads from both renderers of one text. Evaluates to an object of functions. Not here: what it means (rig.py). */
(() => {
  const OWN = "[data-testid='stHeaderActionElements'], [data-testid='stElementToolbarButton']";
  const SHOWN = new Set("p h1 h2 h3 h4 h5 h6 ul ol li blockquote strong em del a code pre table thead tbody tr th td hr br input".split(" "));
  const WRAPPERS = new Set(["div", "span"]);
  const FORMULA = new Set(("span math semantics annotation mrow mi mo mn ms mtext mspace mstyle msup msub msubsup mfrac msqrt mroot munder mover munderover " +
    "mtable mtr mtd mlabeledtr menclose mpadded mphantom mmultiscripts mprescripts merror svg path line").split(" "));
  const STYLES = new Set(("height width min-width max-width vertical-align top bottom left right position margin margin-left margin-right margin-top margin-bottom " +
    "padding padding-left padding-right border-width border-style border-bottom-width border-top-width border-right-width border-left-width " +
    "border-right-style border-left-style border-bottom-style border-top-style text-align white-space color background-color border-color " +
    "border-top-color border-right-color border-bottom-color border-left-color text-shadow").split(" "));
  const ATTRIBUTES = /^(?:class|style|href|target|rel|start|type|checked|disabled|tabindex|id|dir|aria-[a-z]+|data-[a-z-]+|role|title|node|value)$/;

  const own = (node) => node.closest(OWN);
  const squeezed = (text) => text.replace(/\u2060/g, "").replace(/\s+/g, " ");

  /* The structure as text: tags, attributes that matter, visible words. */
  function shape(root) {
    const out = [];
    let isSpace = true;
    const say = (text) => {
      if (isSpace) text = text.replace(/^ /, "");
      if (text) { out.push(text); isSpace = text.endsWith(" "); }
    };
    const tag = (name) => { if (out.at(-1)?.endsWith(" ")) out[out.length - 1] = out.at(-1).trimEnd(); out.push(name); isSpace = true; };
    const walk = (node, isCode) => {
      if (node.nodeType === Node.TEXT_NODE) { isCode ? out.push(node.data.replace(/\u2060/g, "")) : say(squeezed(node.data)); return; }
      if (node.nodeType !== Node.ELEMENT_NODE || own(node)) return;
      const name = node.localName;
      if (node.matches(".katex, .katex-error")) { say(`[tex ${node.querySelector("annotation")?.textContent ?? node.textContent}]`); return; }
      if (node.matches(".katex-display")) tag("<display>");
      const isBlock = node.matches("[data-testid='stCode'], pre:not([data-testid='stCode'] pre)");
      if (isBlock && node.textContent !== undefined && !node.querySelector("[data-testid='stCode']")) {
        const code = node.querySelector("code") ?? node;
        tag(`<pre>${code.textContent.replace(/\u2060/g, "").replace(/\n$/, "")}</pre>`);
        return;
      }
      if (!SHOWN.has(name) || node.matches("[data-testid='stMarkdownPre'], pre")) { for (const child of node.childNodes) walk(child, isCode); return; }
      const inlined = ["strong", "em", "del", "a", "code", "br", "input"].includes(name);
      const more = name === "a" ? ` ${node.href}` : name === "ol" && node.start !== 1 ? ` ${node.start}`
        : name === "input" ? ` ${node.checked}` : ["th", "td"].includes(name) && node.style.textAlign ? ` ${node.style.textAlign}` : "";
      inlined ? out.push(`<${name}${more}>`) : tag(`<${name}${more}>`);
      if (["br", "hr", "input"].includes(name)) { if (name === "br") isSpace = true; return; }
      for (const child of node.childNodes) walk(child, isCode);
      inlined ? out.push(`</${name}>`) : tag(`</${name}>`);
    };
    for (const child of root.childNodes) walk(child, false);
    return out.join("").trim();
  }

  /* What no text may bring about. */
  function faults(root) {
    const found = [];
    const ink = getComputedStyle(root).color;
    for (const node of root.querySelectorAll("*")) {
      if (own(node)) continue;
      const name = node.localName;
      const isFormula = Boolean(node.closest(".katex, .katex-display, .katex-error"));
      if (!(isFormula ? FORMULA : SHOWN).has(name) && !WRAPPERS.has(name)) found.push(`element ${name}`);
      for (const { name: attribute } of node.attributes) {
        if (!isFormula && !ATTRIBUTES.test(attribute)) found.push(`attribute ${attribute} of ${name}`);
        if (/^on/i.test(attribute)) found.push(`handler ${attribute}`);
      }
      const target = node.getAttribute("href") ?? node.getAttribute("xlink:href") ?? node.getAttribute("src");
      if (target !== null && !/^(?:https?:\/\/|mailto:)/i.test(target)) found.push(`target ${target}`);
      for (const property of node.style ?? []) {
        const isKnown = isFormula ? STYLES.has(property) : (property === "text-align" && /^t[hd]$/.test(name)) || (node.closest("[data-testid='stCode']") && /^(?:white-space|background-color|text-wrap)/.test(property));
        if (!isKnown) found.push(`style ${property} of ${name}`);
      }
      const seen = getComputedStyle(node);
      if (seen.position === "fixed" || seen.position === "sticky") found.push(`position ${seen.position}`);
      if (node.closest("a, pre, code, [data-testid='stCode'], input, svg")) continue;
      if (seen.color !== ink && node.textContent.trim()) found.push(`colour ${seen.color}`);
      if (seen.backgroundColor !== "rgba(0, 0, 0, 0)") found.push(`background ${seen.backgroundColor}`);
      const size = parseFloat(seen.fontSize);
      if (size > (isFormula ? 64 : 32) || (size < 7 && !isFormula)) found.push(`size ${size}`);
    }
    return [...new Set(found)];
  }

  const height = (root) => Math.round(root.getBoundingClientRect().height * 10) / 10;
  const look = (root) => (root ? { shape: shape(root), faults: faults(root), height: height(root), text: squeezed(root.innerText ?? "") } : null);
  const drawn = (index) => document.querySelector(`.st-key-answer-${index} [data-testid="stMarkdownContainer"]`);

  return {
    isDrawn: (number) => Boolean(document.querySelector(`.st-key-drawn-${number}`)) && !document.querySelector("[data-testid='stSkeleton'], [data-stale='true']"),
    /* Shows the texts as the live answer does, each `step` characters at once, below Streamlit's. */
    async show(texts, step) {
      document.querySelector(".naru-live-sheet")?.remove();
      const sheet = document.createElement("div");
      sheet.className = "naru-live-sheet";
      const column = document.querySelector(".st-key-answer-0").parentElement.parentElement;
      column.append(sheet);
      const answers = texts.map((text) => {
        const root = document.createElement("div");
        root.className = "naru-answer";
        sheet.append(root);
        const answer = new naru.GrowingAnswer(root);
        for (let at = 0; at < text.length; at += step) { answer.append(text.slice(at, at + step)); if (at + step < text.length) answer.paint(); }
        return answer;
      });
      await naru.loadTypesetter();
      await naru.loadColours();
      for (const answer of answers) answer.paint({ final: true });
      await new Promise((done) => setTimeout(done, 0));
      await document.fonts.ready;
    },
    results: (count) => {
      const live = document.querySelectorAll(".naru-live-sheet > .naru-answer");
      return Array.from({ length: count }, (_, index) => ({ streamlit: look(drawn(index)), live: look(live[index]) }));
    },
    tops: (index) => [drawn(index), document.querySelectorAll(".naru-live-sheet > .naru-answer")[index]].map((root) => {
      const top = root.getBoundingClientRect().top;
      const blocks = Array.from(root.querySelectorAll("p, li, h1, h2, h3, h4, h5, h6, tr, blockquote, hr, pre:not([data-testid='stMarkdownPre'] pre), [data-testid='stMarkdownPre'], .katex-display"));
      return blocks.filter((node) => !own(node)).map((node) => `${node.matches("pre, [data-testid='stMarkdownPre']") ? "pre" : node.localName} ${Math.round(node.getBoundingClientRect().top - top)} ${Math.round(node.getBoundingClientRect().height)}`);
    }),
  };
})()
