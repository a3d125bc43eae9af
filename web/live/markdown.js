/*
The live answer's Markdown: text that is still growing -> DOM nodes.

Blocks that are finished are never touched again; only the last, still open block is parsed anew on each paint and patched in
place. Nothing here goes through innerHTML: every node is made by hand, so markup inside an answer can only ever be text.
Not here: where the text comes from (stream.js), what surrounds it (live.js).
*/
import { marked } from "./vendor/marked.js";
import { Beginning, DEEPEST, FLOOD_SPAN, LONGEST_FORMULA, LONGEST_HEADING, isTooDense, withoutFloods } from "./bounds.js";

const SAFE_LINK = /^(?:https?:\/\/|mailto:)/i;
const PUNCTUATION = /[\p{P}\p{S}]/u;
const WORD = /[\p{L}\p{N}]/u;
const WORD_JOINER = "&#8288;"; // invisible, and a punctuation mark in the eyes of Markdown
const ENTITIES = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0" };

/* CommonMark does not close `**"굵게"**` when a Korean particle follows. An invisible mark between the two lets it. */
export function easeEmphasis(text) {
  if (!text.includes("*")) return text;
  const marks = [];
  const open = new Map();
  for (const match of text.matchAll(/\\.|(`+)(?!`)[^]*?[^`]\1(?!`)|\*+/g)) {
    const run = match[0];
    if (run[0] !== "*" || run.length > 3) continue;
    const before = text[match.index - 1] ?? "";
    const after = text[match.index + run.length] ?? "";
    const begin = open.get(run.length);
    if (begin && before.trim()) {
      if (PUNCTUATION.test(begin.after) && WORD.test(begin.before)) marks.push(begin.index);
      if (PUNCTUATION.test(before) && WORD.test(after)) marks.push(match.index + run.length);
      open.delete(run.length);
    } else if (after.trim()) {
      open.set(run.length, { index: match.index, before, after });
    }
  }
  for (const at of marks.sort((a, b) => b - a)) text = text.slice(0, at) + WORD_JOINER + text.slice(at);
  return text;
}

/* "$x^2$" is a formula, "$5 and $10" is not: the same rule as web/markdown.py. */
const DOLLAR = /^\$(?![\s$])((?:\\.|[^$\\\n])+?)\$(?![\p{L}\p{N}$])/u;
export function dollarFormula(source) {
  const match = DOLLAR.exec(source);
  if (!match || /\s$/.test(match[1])) return null;
  return /[\\^_={}]/.test(match[1]) || /^[A-Za-z]$/.test(match[1]) ? match : null;
}

const formulas = [
  {
    name: "formulaBlock",
    level: "block",
    start: (source) => source.match(/(?:^|\n) {0,3}(?:\$\$|\\\[)/)?.index,
    tokenizer(source) {
      const match = /^ {0,3}(?:\$\$([^]+?)\$\$|\\\[([^]+?)\\\])[ \t]*(?:\n|$)/.exec(source.slice(0, LONGEST_FORMULA));
      return match ? { type: "formulaBlock", raw: match[0], text: (match[1] ?? match[2]).trim() } : undefined;
    },
  },
  {
    name: "formula",
    level: "inline",
    start: (source) => source.match(/\$|\\[([]/)?.index,
    tokenizer(source) {
      const match = /^(?:\$\$([^$]+?)\$\$|\\\(([^]+?)\\\)|\\\[([^]+?)\\\])/.exec(source.slice(0, LONGEST_FORMULA)) ?? dollarFormula(source);
      if (!match) return undefined;
      return { type: "formula", raw: match[0], text: (match[1] ?? match[2] ?? match[3]).trim() };
    },
  },
];

const parser = new marked.Marked({ gfm: true, extensions: formulas });

class PlainTokenizer extends marked.Tokenizer {
  /* marked looks for a heading's underline from each block on to the text's end. */
  lheading(source) { return super.lheading(source.slice(0, source.lastIndexOf("\n", LONGEST_HEADING) + 1 || LONGEST_HEADING)); }
  html() { return undefined; }
  tag() { return undefined; }
  del(source, ...rest) { return source.startsWith("~~") ? super.del(source, ...rest) : undefined; } // "10~20, 30~40"
}

/* What is deeper or denser than a browser can take is text. */
class AnswerLexer extends marked.Lexer {
  depth = 0;

  within(source, tokens, whole, parse) {
    if (this.depth >= DEEPEST) { tokens.push(whole); return tokens; }
    this.depth += 1;
    try { return parse(); } finally { this.depth -= 1; }
  }

  blockTokens(source, tokens = [], ...rest) {
    return this.within(source, tokens, paragraph(source), () => super.blockTokens(source, tokens, ...rest));
  }

  inlineTokens(source, tokens = []) {
    if (isTooDense(source)) { tokens.push(plain(source)); return tokens; }
    return this.within(source, tokens, plain(source), () => super.inlineTokens(easeEmphasis(source), tokens));
  }
}

const plain = (text) => ({ type: "text", raw: text, text });
const paragraph = (text) => ({ type: "paragraph", raw: text, text, tokens: [plain(text)] });

function lex(source) {
  return new AnswerLexer({ ...parser.defaults, tokenizer: new PlainTokenizer() }).lex(source);
}

function decoded(text) {
  return text.replace(/&(?:#(\d{1,7})|#[xX]([0-9a-fA-F]{1,6})|(\w{2,8}));/g, (all, decimal, hex, name) => {
    if (name) return ENTITIES[name] ?? all;
    const code = decimal ? Number(decimal) : parseInt(hex, 16);
    return code > 0 && code <= 0x10ffff && !(code >= 0xd800 && code <= 0xdfff) ? String.fromCodePoint(code) : "\ufffd";
  });
}

function element(name, children = [], attributes = {}) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

function link(token, children) {
  if (!SAFE_LINK.test(token.href)) return [token.raw];
  return [element("a", children, { href: token.href, target: "_blank", rel: "noopener noreferrer" })];
}

function inline(tokens) {
  return (tokens ?? []).flatMap((token) => {
    switch (token.type) {
      case "strong": return [element("strong", inline(token.tokens))];
      case "em": return [element("em", inline(token.tokens))];
      case "del": return [element("del", inline(token.tokens))];
      case "codespan": return [element("code", [token.text])];
      case "br": return [element("br")];
      case "link": return link(token, inline(token.tokens));
      case "image": return link(token, [token.text || token.href]); // never fetched: the address may carry a secret out
      case "formula": return [element("span", [token.text], { class: "naru-tex" })];
      case "checkbox": return [element("span", [token.checked ? "☑ " : "☐ "])];
      default: return token.tokens ? inline(token.tokens) : [decoded(token.text ?? token.raw)];
    }
  });
}

function cells(row, align, name) {
  return row.map((cell, i) => element(name, inline(cell.tokens), align[i] ? { style: `text-align:${align[i]}` } : {}));
}

function table(token) {
  const head = element("thead", [element("tr", cells(token.header, token.align, "th"))]);
  const body = element("tbody", token.rows.map((row) => element("tr", cells(row, token.align, "td"))));
  return element("table", [head, body]);
}

function list(token) {
  const items = token.items.map((item) => element("li", item.tokens.flatMap(block)));
  const start = token.ordered && token.start !== 1 ? { start: token.start } : {};
  return element(token.ordered ? "ol" : "ul", items, start);
}

function block(token) {
  switch (token.type) {
    case "space": case "def": return [];
    case "heading": return [element(`h${token.depth}`, inline(token.tokens))];
    case "paragraph": return [element("p", inline(token.tokens))];
    case "list": return [list(token)];
    case "blockquote": return [element("blockquote", token.tokens.flatMap(block))];
    case "code": return [element("pre", [element("code", [token.text])], { tabindex: "0" })];
    case "table": return [table(token)];
    case "hr": return [element("hr")];
    case "formulaBlock": return [element("p", [token.text], { class: "naru-tex naru-tex-block" })];
    default: return token.tokens ? inline(token.tokens) : [decoded(token.text ?? token.raw)];
  }
}

/* Make `old` look like `fresh` with as few changes as there are differences. */
function patch(old, fresh) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (fresh.data.startsWith(old.data)) old.appendData(fresh.data.slice(old.data.length));
    else old.data = fresh.data;
    return;
  }
  for (const { name } of Array.from(old.attributes)) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of Array.from(fresh.attributes)) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  const wanted = Array.from(fresh.childNodes);
  wanted.forEach((child, i) => {
    const present = old.childNodes[i];
    if (!present) old.append(child);
    else if (present.nodeName === child.nodeName) patch(present, child);
    else present.replaceWith(child);
  });
  while (old.childNodes.length > wanted.length) old.lastChild.remove();
}

function openFence(text) {
  let fence = "";
  for (const [, mark] of text.matchAll(/^[ \t>]*(?:[-*+] +|\d+[.)] +)?(`{3,}|~{3,})/gm)) {
    if (!fence) fence = mark;
    else if (mark[0] === fence[0] && mark.length >= fence.length) fence = "";
  }
  return fence !== "";
}

/* A line that has only begun may still become a list, a rule, a heading or a table: wait for it, do not guess. */
export function held(text) {
  const lines = text.split("\n");
  const ends = lines.at(-1) === "";
  if (ends) lines.pop();
  const isRow = (line) => /^[ \t]*\|/.test(line ?? "");
  const rows = isRow(lines.at(-1)) ? 1 + isRow(lines.at(-2)) + isRow(lines.at(-3)) : 0;
  const isHeadOnly = rows === 1 || (rows === 2 && !ends && /^[-:| \t]*$/.test(lines.at(-1)));
  if (isHeadOnly && !openFence(text)) return text.slice(0, text.length - lines.slice(-rows).join("\n").length - ends);
  const begun = ends ? "" : lines.at(-1);
  return /^[ \t]*(?:[-*+=_~`#>|]+|\d{1,9}[.)]?)[ \t]*$/.test(begun) ? text.slice(0, text.length - begun.length) : text;
}

/* Close what the model has opened and not closed yet, so that half a `**bold` is bold and not two asterisks. */
export function healed(text) {
  if (openFence(text)) return text;
  const from = Math.max(text.lastIndexOf("\n\n") + 2, text.search(/\n[ \t]*(?:[-*+]|\d+[.)]|#{1,6}|\||>)[ \t][^\n]*$/) + 1, 0);
  const marker = /^[ \t]*(?:[-*+]|\d+[.)]|#{1,6}|>)[ \t]+/.exec(text.slice(from))?.[0].length ?? 0;
  if (isTooDense(text.slice(from))) return text;
  let part = text.slice(from + marker).replace(/!?\[([^\]\n]*)\]\([^)\n]*$/, "$1");
  const open = [];
  for (const match of part.matchAll(/\\[(\[]|\\.|`+|\*{1,3}|~~|\$\$/g)) {
    const mark = match[0];
    const top = open.at(-1);
    const end = match.index + mark.length;
    if (top?.verbatim) {
      if (mark === top.close) open.pop();
      continue;
    }
    if (mark === "\\(" || mark === "\\[") open.push({ verbatim: true, at: match.index, end, close: mark === "\\(" ? "\\)" : "\\]" });
    else if (mark[0] === "\\") continue;
    else if (mark[0] === "`" || mark === "$$") open.push({ verbatim: true, at: match.index, end, close: mark });
    else if (top?.close === mark && /\S/.test(part[match.index - 1] ?? "")) open.pop();
    else if (end === part.length || /\S/.test(part[end])) open.push({ at: match.index, end, close: mark });
  }
  while (open.length && !part.slice(open.at(-1).end).trim()) part = part.slice(0, open.pop().at);
  return text.slice(0, from + marker) + (open.length ? part.trimEnd() + open.reverse().map((mark) => mark.close).join("") : part);
}

export class GrowingAnswer {
  constructor(root) {
    this.root = root;
    this.clear();
  }

  clear() {
    this.text = "";
    this.beginning = new Beginning();
    this.settled = 0; // characters (of this language, not offsets) whose blocks are final
    this.open = []; // [{raw, nodes}] of what may still change
    this.root.replaceChildren();
  }

  append(text) {
    const at = Math.max(0, this.text.length - FLOOD_SPAN); // a flood comes in many pieces
    this.text = this.text.slice(0, at) + withoutFloods(this.text.slice(at) + this.beginning.take(text.replaceAll("\r", "")));
  }

  replace(text) {
    const whole = text.replaceAll("\r", "");
    if (!whole.startsWith(this.text)) this.clear();
    this.append(whole.slice(this.text.length));
  }

  /* The answer goes on, and this does not show it any more. */
  get isCut() {
    return this.beginning.isOver;
  }

  paint({ final = false } = {}) {
    const tail = this.text.slice(this.settled);
    const tokens = lex(final ? tail : healed(held(tail)));
    const blocks = tokens.map((token) => ({ raw: token.raw, nodes: null, token }));
    blocks.forEach((entry, i) => this.place(entry, i));
    for (const entry of this.open.slice(blocks.length)) entry.nodes.forEach((node) => node.remove());
    this.open = blocks;
    this.settle(tail.lastIndexOf("\n") + 1);
  }

  place(entry, index) {
    const previous = this.open[index];
    if (previous && previous.raw === entry.raw) {
      entry.nodes = previous.nodes;
      return;
    }
    const fresh = block(entry.token).map((node) => (typeof node === "string" ? element("p", [node]) : node));
    if (previous?.nodes.length === 1 && fresh.length === 1 && previous.nodes[0].nodeName === fresh[0].nodeName) {
      patch(previous.nodes[0], fresh[0]);
      entry.nodes = previous.nodes;
      return;
    }
    const anchor = this.open.slice(index).flatMap((later) => later.nodes)[0] ?? null;
    fresh.forEach((node) => this.root.insertBefore(node, anchor));
    previous?.nodes.forEach((node) => node.remove());
    entry.nodes = fresh;
  }

  /* All blocks before the last one that begins in a finished line are final. */
  settle(finishedLines) {
    let at = 0;
    let last = 0;
    const starts = this.open.map((entry) => (at += entry.raw.length) - entry.raw.length);
    this.open.forEach((entry, i) => {
      if (entry.token.type !== "space" && starts[i] < finishedLines) last = i;
    });
    this.settled += starts[last] ?? 0;
    this.open = this.open.slice(last);
  }
}
