/*
Code -> coloured nodes, by Prism, whose names of tokens Streamlit's ended answers have too (style.css colours both). It is fetched when the
first code with a language comes. A language that it lacks stays plain until the answer has ended.
Not here: where code stands in an answer (markdown.js).
*/
const LONGEST_COLOURED = 10000; // characters of a block, which is read anew at each paint while it grows; what follows is plain until the end

let prism = null;
let loadingColours = null;

/* Resolves to whether code can be coloured from now on. */
export function loadColours() {
  loadingColours ??= import(new URL(COLOURS, document.baseURI).href).then((module) => { prism = module.Prism; return true; }, () => false);
  return loadingColours;
}

export const canColour = () => prism !== null;

/* The nodes of code in `language`, as a fence names it. */
export function coloured(code, language) {
  const grammar = prism && Object.hasOwn(prism.languages, language) ? prism.languages[language] : null;
  if (!grammar || typeof grammar === "function") return [code];
  const end = code.length > LONGEST_COLOURED ? code.lastIndexOf("\n", LONGEST_COLOURED) + 1 : code.length;
  const run = { code: code.slice(0, end), grammar, language };
  try {
    prism.hooks.run("before-tokenize", run);
    run.tokens = prism.tokenize(run.code, run.grammar);
    prism.hooks.run("after-tokenize", run);
    return [...[run.tokens].flat().flatMap((token) => drawn(token, [])), code.slice(end)].filter((part) => part !== "");
  } catch {
    return [code]; // thousands of "#define" are within each other to it
  }
}

/* Colour all code below `root` that is plain. */
export function colourAll(root) {
  for (const code of root.querySelectorAll("pre > code[data-language]")) {
    if (!code.childElementCount) code.replaceChildren(...coloured(code.textContent, code.dataset.language));
  }
}

/* Flat, as Streamlit draws it: each piece of text has the names of all tokens around it. */
function drawn(token, names) {
  if (typeof token !== "string") return [token.content].flat().flatMap((part) => drawn(part, [...names, token.type, token.alias ?? []].flat()));
  if (!names.length) return token;
  const node = document.createElement("span");
  node.className = ["token", ...names].join(" ");
  node.textContent = token;
  return node;
}
