/*
Rewrite the marks of one run of text so that Streamlit's Markdown shows what the model meant. The
function-by-function twin of web/markdown/inline.py, which gives the reasons. blocks.js finds the runs.
*/
import { canBeTypeset } from "./formulas.js";

const JOINER = "&#8288;"; // an invisible word joiner; its `&` and `;` count as punctuation in Markdown
const IN_CODE = "\u2060"; // the same character for code, where `&#8288;` would be shown
const ADDRESS = "(?:[^\\s<>()\\[\\]`*|\\\\!]|\\([^\\s<>()\\[\\]`*|\\\\]*\\)|!(?!\\[))*";
const TOKEN = new RegExp(
  "(?<formula>\\\\[(\\[])|(?<colon>\\\\?:|&(?:#0*58|#[xX]0*3[aA]|colon);)|(?<escape>\\\\[^\\n])|(?<ticks>`+)|(?<stars>\\*+)" +
  "|(?<dollars>\\$+)|(?<symbol>(?<![^ \\t\\n])(?:<->|->|<-|--|>=|<=|~=)(?![^ \\t\\n]))|(?<tildes>~+)" +
  `|(?<url>(?<![A-Za-z])[hH][tT][tT][pP][sS]?://${ADDRESS})|(?<www>(?<![A-Za-z0-9])[wW]{3}\\.)` +
  "|(?<autolink><(?:[hH][tT][tT][pP][sS]?://|[mM][aA][iI][lL][tT][oO]:)[^\\s<>|\\x00-\\x20\\x7f]*>)" +
  "|(?<image>!\\[)|(?<open>\\[)|(?<close>\\])|(?<html><(?=[A-Za-z/!?]))", "gu");
const SHORTCODE = /(?:[A-Za-z0-9_+-]|\\[_+-]|&#?[A-Za-z0-9]{1,31};){1,80}(?::|\\:|&(?:#0*58|#[xX]0*3[aA]|colon);)|material\//y;
const NO_SHORTCODE = /[0-9][0-9]:|[-_]+:/y;
const NO_TEX = /[$`]|\\\s*$|!\[|\]\(|:[^\s:]*[[{]|:material\//;
const DOLLAR = /\$(?![\s$])([^$\n]+)(?<!\s)\$(?!\$)/y;
const FORMULA_SIGN = /[\\^_={}]|^[A-Za-z]$/;
const RESOURCE = /\([ \t]*(?:<((?:https?:\/\/|mailto:)[^\s<>\\|]*)>|((?:https?:\/\/|mailto:)(?:[^\s<>()\\|]|\([^\s<>()\\|]*\))*))(?:[ \t]+(?:"[^"\\`$|]*"|'[^'\\`$|]*'))?[ \t]*\)/iy;
const FOOTNOTE = /\^([0-9]{1,4})\](:?)/y;
const SUPERSCRIPT = "⁰¹²³⁴⁵⁶⁷⁸⁹";
const PUNCTUATION = /[\p{P}\p{S}]/u;
const WORD = /[\p{L}\p{N}]/u;

const matchAt = (pattern, text, at) => { pattern.lastIndex = at; return pattern.exec(text); };
const isPunctuation = (sign) => PUNCTUATION.test(sign);
const isWord = (sign) => WORD.test(sign);
const isSpace = (sign) => /^\s$/.test(sign);
const signAt = (text, at) => (at < text.length ? String.fromCodePoint(text.codePointAt(at)) : "");
function signBefore(text, at) {
  const isPair = /^[\ud800-\udbff][\udc00-\udfff]$/.test(text.slice(Math.max(0, at - 2), at));
  return text.slice(Math.max(0, at - (isPair ? 2 : 1)), at);
}

/* Return the run rewritten. `inRow` means that it is a table row, in which each `|` ends a cell. */
export function inlineMarkdown(text, inRow) {
  const run = new Run(text, inRow);
  for (;;) {
    const token = matchAt(TOKEN, text, run.at);
    if (!token) break;
    run.out.push(text.slice(run.at, token.index));
    run.at = token.index + token[0].length;
    const kind = Object.keys(token.groups).find((name) => token.groups[name] !== undefined);
    run.out.push(run[kind](token[0], token.index));
  }
  run.out.push(text.slice(run.at));
  return run.out.join("");
}

/* Return Markdown that shows exactly these characters. */
export function literalMarkdown(text) {
  return text.replace(/[!#$&()*+\-:<=>@[\\\]_`|~]|(?<=[wW]{3})\./g, "\\$&").replace(/\\:(?=[A-Za-z0-9_+]|\\[-+_])/g, `\\:${JOINER}`);
}

/* Hide icon names in code from Streamlit. */
export const withoutIcons = (code) => code.replaceAll(":material/", `:${IN_CODE}material/`);
/* Escape an address so that Streamlit finds no emoji or icon in it. */
export function escapedAddress(address) {
  const scheme = address.slice(0, address.indexOf(":"));
  const rest = address.slice(scheme.length + 1);
  return `${scheme}:${(rest.startsWith("//") ? rest : rest.replaceAll(":", "%3A")).replace(/:(?=[A-Za-z0-9_+-]+:|material\/)/g, "%3A")}`;
}

class Run {
  constructor(text, inRow) {
    this.text = text;
    this.inRow = inRow;
    this.at = 0;
    this.brackets = 0;
    this.out = [];
    this.missing = new Set();
    this.opened = new Map();
    this.places = new Map();
    for (const { 0: { length }, index } of text.matchAll(/`+/g)) this.places.set(length, [...(this.places.get(length) ?? []), index]);
  }

  find(mark, start) {
    if (this.missing.has(mark)) return -1;
    const found = this.text.indexOf(mark, start);
    if (found < 0) this.missing.add(mark);
    return found;
  }

  next() {
    return signAt(this.text, this.at);
  }

  formula(mark) {
    const close = mark === "\\(" ? "\\)" : "\\]";
    const end = this.find(close, this.at);
    const tex = end >= 0 ? this.text.slice(this.at, end) : "";
    if (!this.isTex(tex)) return mark;
    this.at = end + 2;
    return this.between(close === "\\)" ? "$" : "$$", tex);
  }

  isTex(text) {
    return text.trim() !== "" && !NO_TEX.test(text) && canBeTypeset(text);
  }

  between(mark, tex) {
    let line = tex.replaceAll("\n", " ").trim();
    if (this.inRow) line = line.replaceAll("\\|", "\\Vert ").replaceAll("|", "\\vert ");
    if (/^[0-9]/.test(this.next())) mark = "$$";
    return mark + line + mark;
  }

  escape(mark) { return mark; }

  ticks(mark, index) {
    let size = mark.length;
    const end = this.places.get(size)?.find((place) => place > index);
    const code = end === undefined ? "" : this.text.slice(this.at, end);
    if (!code || (this.inRow && code.replaceAll("\\|", "").includes("|"))) return "\\`".repeat(size);
    this.at = end + size;
    if (size > 2) {
      const counts = new Set((code.match(/`+/g) ?? []).map((inner) => inner.length));
      size = [1, 2, size].find((count) => !counts.has(count));
    }
    return "`".repeat(size) + withoutIcons(code.replaceAll("\n", " ")) + "`".repeat(size);
  }

  stars(mark, index) {
    const before = index ? signBefore(this.text, index) : " ";
    const after = this.next() || " ";
    const begun = this.opened.get(mark.length);
    if (begun && !isSpace(before)) {
      this.opened.delete(mark.length);
      if (isPunctuation(begun.after) && isWord(begun.before)) this.out[begun.place] = JOINER + mark;
      return isPunctuation(before) && isWord(after) ? mark + JOINER : mark;
    }
    if (mark.length <= 3 && !isSpace(after)) this.opened.set(mark.length, { place: this.out.length, before, after });
    return mark;
  }

  dollars(mark, index) {
    if (mark.length === 2) {
      const end = this.find("$$", this.at);
      const tex = end >= 0 ? this.text.slice(this.at, end) : "";
      if (this.isTex(tex) && this.text[end + 2] !== "$") {
        this.at = end + 2;
        return this.between("$$", tex);
      }
    } else if (mark.length === 1) {
      const found = matchAt(DOLLAR, this.text, index);
      if (found) {
        const after = signAt(this.text, index + found[0].length);
        if (!isWord(after) && after !== "_" && FORMULA_SIGN.test(found[1]) && this.isTex(found[1])) {
          this.at = index + found[0].length;
          return this.between("$", found[1]);
        }
      }
    }
    return "\\$".repeat(mark.length);
  }

  tildes(mark) {
    return mark.length === 2 ? mark : "\\~".repeat(mark.length);
  }

  url(mark, index) {
    const address = mark.replace(/[?!.,:;*_~'"&$]+$/, "");
    const scheme = address.slice(0, address.indexOf("://") + 3);
    if (this.brackets || address.length === scheme.length) {
      this.at = index + scheme.length;
      return scheme.replace(":", "\\:");
    }
    this.at = index + address.length;
    return `<${escapedAddress(address)}>`;
  }

  www(mark) { return `${mark.slice(0, 3)}\\.`; }

  autolink(mark) { return escapedAddress(mark); }

  image(_, index) {
    const opened = this.text[index - 1] === "!" ? `${JOINER}[` : "[";
    this.brackets++;
    const resource = this.next() === "]" && matchAt(RESOURCE, this.text, this.at + 1);
    if (resource) return opened + literalMarkdown(resource[1] || resource[2]);
    return this.next() === "^" ? `${opened.slice(0, -1)}\\[` : opened;
  }

  open() {
    if (this.next() !== "^") { this.brackets++; return "["; }
    const number = matchAt(FOOTNOTE, this.text, this.at);
    if (!number) return "\\[";
    this.at += this.at === 1 ? number[0].length : number[1].length + 2;
    return number[1].replace(/[0-9]/g, (digit) => SUPERSCRIPT[digit]);
  }

  close() {
    this.brackets = Math.max(0, this.brackets - 1);
    if (this.next() !== "(") return "]";
    const resource = matchAt(RESOURCE, this.text, this.at);
    if (!resource) return "]\\";
    this.at += resource[0].length;
    return `](<${escapedAddress(resource[1] ?? resource[2])}>)`;
  }

  symbol(mark) { return mark[0] + JOINER + mark.slice(1); }

  html(mark) { return `\\${mark}`; }

  colon(mark, index) {
    if (matchAt(SHORTCODE, this.text, this.at) && !matchAt(NO_SHORTCODE, this.text, this.at)) return `\\:${JOINER}`;
    const after = this.next();
    const isTarget = this.text[index - 1] === "]";
    const isName = after && (after === "\t" || !isSpace(after)) && (after === ":" || after.length > 1 || !isPunctuation(after));
    return mark === ":" && (isTarget || isName || this.text.startsWith("[^", this.at)) ? "\\:" : mark;
  }
}
