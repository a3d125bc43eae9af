/*
Limits on the length and nesting of an answer, so that every browser can draw it within a few seconds. The numbers are those
of web/markdown/bounds.py, which gives the reasons.
*/
const MOST = 500000; // the highest cost of drawing an answer: each character costs 1, plus the elements that it may create
const COSTS = { "\n": 20, "|": 100, "*": 10, _: 10, "`": 10, "~": 10, "[": 10 };
export const DEEPEST = 20; // nested quotes and lists in one line
const WIDEST_INDENT = 2 * DEEPEST;
const MOST_MARKS = 1000; // of emphasis, code and links in one paragraph
const LONGEST_PARAGRAPH = 10000; // in characters: some of Markdown's rules search from each one to the end

export const FLOOD_SPAN = 9; // in code units; marks of the first plane take one each
const COMBINING = "[\\u0300-\\u036f\\u0483-\\u0489\\u0591-\\u05bd\\u0610-\\u061a\\u064b-\\u065f\\u0e31\\u0e34-\\u0e3a\\u0e47-\\u0e4e\\u1ab0-\\u1aff\\u1dc0-\\u1dff\\u20d0-\\u20ff\\ufe00-\\ufe0f\\ufe20-\\ufe2f]";
const FLOOD = new RegExp(`(${COMBINING}{8})${COMBINING}+`, "g");
export const withoutFloods = (text) => text.replace(FLOOD, "$1");

/* Whether this paragraph is shown as its source. */
export function isTooDense(text) {
  if (text.length > LONGEST_PARAGRAPH && Array.from(text).length > LONGEST_PARAGRAPH) return true;
  let marks = 0;
  for (const sign of text) if (sign in COSTS && sign !== "\n" && sign !== "|" && ++marks > MOST_MARKS) return true;
  return false;
}

const CONTAINER = /[ \t]*(?:>|(?:[-*+]|[0-9]{1,9}[.)])(?=[ \t]))/y;
const WHOLE_RULE = /^[ \t]*([-*_])(?:[ \t]*\1)+[ \t]*$/;

/* Return the line with its nesting of quotes and lists limited to DEEPEST. */
export function shallow(line) {
  if (line.length <= DEEPEST) return line;
  const lead = /^[ \t]*/.exec(line)[0];
  if (lead.length > WIDEST_INDENT) line = " ".repeat(WIDEST_INDENT) + line.slice(lead.length);
  CONTAINER.lastIndex = 0;
  let end = 0;
  for (let depth = 0; depth <= DEEPEST; depth++) {
    if (!CONTAINER.test(line)) return line;
    end = CONTAINER.lastIndex;
  }
  return WHOLE_RULE.test(line) ? line : `${line.slice(0, end - 1)}\\${line.slice(end - 1)}`;
}

/* Passes a growing text on until its cost reaches the limit. */
export class Beginning {
  constructor() {
    this.spent = 0;
    this.isOver = false;
  }

  take(text) {
    if (this.isOver) return "";
    for (let at = 0; at < text.length; at++) {
      this.spent += 1 + (COSTS[text[at]] ?? 0);
      if (this.spent > MOST) { this.isOver = true; return text.slice(0, at); }
    }
    return text;
  }
}
