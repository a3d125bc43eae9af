/*
Typeset TeX with Streamlit's own module: the same KaTeX and the same errors as in finished answers, and nothing more to load.
It is fetched with the first formula. Its tree becomes nodes through an allow-list, never through innerHTML.
modules.py finds the module; without it, formulas are shown as their source until the answer has ended.
*/
const NAMESPACES = { math: "http://www.w3.org/1998/Math/MathML", svg: "http://www.w3.org/2000/svg" };
const DRAWN = new Set(("span math semantics annotation mrow mi mo mn ms mtext mspace mstyle msup msub msubsup mfrac msqrt mroot munder mover munderover " +
  "mtable mtr mtd mlabeledtr menclose mpadded mphantom mmultiscripts mprescripts merror svg path line").split(" "));
const KEPT = { className: "class", style: "style", ariaHidden: "aria-hidden", viewBox: "viewBox", preserveAspectRatio: "preserveAspectRatio", xmlns: "xmlns" };
const KEPT_AS_THEY_ARE = new Set("width height d x1 x2 y1 y2 display encoding mathvariant stretchy fence separator accent accentunder lspace rspace minsize maxsize " .concat(
  "scriptlevel displaystyle columnalign rowspacing columnspacing rowlines columnlines linethickness notation depth voffset movablelimits linebreak symmetric").split(" "));

let transform = null;
let loading = null;

export const canTypeset = () => transform !== null;

/* Load the typesetter; resolves to whether formulas can be typeset. */
export function loadTypesetter() {
  loading ??= (KATEX ? import(new URL(KATEX, document.baseURI).href) : Promise.reject(new Error("not found")))
    .then((module) => { transform = module.default(); return true; }, () => false);
  return loading;
}

/* Return the nodes of a formula, or its source until the typesetter is loaded. */
export function typeset(tex, isBlock) {
  const source = document.createElement("span");
  source.className = isBlock ? "naru-tex naru-tex-block" : "naru-tex";
  source.textContent = tex;
  if (!transform) return source;
  const formula = { type: "element", tagName: "code", properties: { className: ["language-math", isBlock ? "math-display" : "math-inline"] }, children: [{ type: "text", value: tex }] };
  const tree = { type: "root", children: [{ type: "element", tagName: isBlock ? "pre" : "p", properties: {}, children: [formula] }] };
  try {
    transform(tree, { message: () => {} });
    const drawn = isBlock ? tree.children : tree.children[0].children;
    return drawn.length === 1 ? (drawnNode(drawn[0], null) ?? source) : source;
  } catch {
    return source;
  }
}

/* Typeset every formula in `root` that is still shown as its source. */
export function typesetAll(root) {
  for (const node of root.querySelectorAll(".naru-tex")) node.replaceWith(typeset(node.textContent, node.matches(".naru-tex-block")));
}

function drawnNode(node, namespace) {
  if (node.type === "text") return document.createTextNode(node.value);
  if (node.type !== "element" || !DRAWN.has(node.tagName)) return null;
  const space = NAMESPACES[node.tagName] ?? namespace;
  const made = space ? document.createElementNS(space, node.tagName) : document.createElement(node.tagName);
  for (const [name, value] of Object.entries(node.properties ?? {})) {
    const kept = KEPT[name] ?? (KEPT_AS_THEY_ARE.has(name) ? name : null);
    if (kept && value !== false && value != null) made.setAttribute(kept, Array.isArray(value) ? value.join(" ") : String(value));
  }
  for (const child of node.children ?? []) {
    const drawn = drawnNode(child, space);
    if (drawn) made.append(drawn);
  }
  return made;
}
