/*
How much of an answer is drawn, and how deep: what every browser can draw within a few seconds. The same numbers as in
web/bounds.py, which says why. Not here: what the Markdown means (markdown.js).
*/
const MOST = 500000; // what an answer may cost to draw: each character 1, and these as many elements as they make
const COSTS = { "\n": 20, "|": 100, "*": 10, _: 10, "`": 10, "~": 10, "[": 10 };
export const DEEPEST = 20; // quotes, lists and emphasis within each other
const MOST_MARKS = 1000; // of emphasis, code and links in one paragraph
const LONGEST_PARAGRAPH = 20000; // in characters: some of Markdown's rules look from each to the end
export const LONGEST_HEADING = 1000; // in characters, of one that is underlined: this much is searched from each block on
export const LONGEST_FORMULA = 4000; // in characters: its end is looked for from each sign that may begin one

export const FLOOD_SPAN = 18; // code units: marks outside of the first plane are two each
const FLOOD = /(\p{M}{8})\p{M}+/gu;
export const withoutFloods = (text) => text.replace(FLOOD, "$1");

/* Whether this paragraph is shown as it is written. */
export function isTooDense(text) {
  if (text.length > LONGEST_PARAGRAPH) return true;
  let marks = 0;
  for (const sign of text) if (sign in COSTS && sign !== "\n" && sign !== "|" && ++marks > MOST_MARKS) return true;
  return false;
}

/* Lets a text that grows pass until it has cost too much. */
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
