/*
Decide which formulas are typeset: the twin of web/markdown/formulas.py, which gives the reasons. typeset.js draws them.
*/
const LONGEST_FORMULA = 4000;
const MOST_EM = 40;
const MOST_ROWS = 60;
const DEEPEST_BRACES = 12;
const EM = { em: 1, ex: 0.45, mu: 0.06, pt: 0.1, px: 0.1, bp: 0.11, mm: 0.29, cm: 2.9, in: 7.3, pc: 1.2 };
const LENGTH = "[ \\t\\n]*[-+]?[ \\t\\n]*([0-9]+\\.?[0-9]*|\\.[0-9]+)[ \\t\\n]*([a-z]{2})[ \\t\\n]*";
const BRACED = `[ \\t\\n]*\\{${LENGTH}\\}`;
const MACRO = /\\(?:[A-Za-z]*@|(?:[egx]?def|let|futurelet|(?:re)?newcommand|providecommand|global|long|char)(?![A-Za-z]))/;
const FONT_SIZE = /\\(?:tiny|sixptsize|scriptsize|footnotesize|small|normalsize|large|Large|LARGE|huge|Huge)(?![A-Za-z@])/g;
const SIZED = /\\(?:(rule|hspace\*?|raisebox|kern|mkern|hskip|mskip|above|genfrac|cr|newline)(?![A-Za-z@])|\\\*?)/g;
const FORMS = {
  rule: new RegExp(`(?:[ \\t\\n]*\\[${LENGTH}\\])?${BRACED}${BRACED}`, "y"),
  hspace: new RegExp(BRACED, "y"),
  "hspace*": new RegExp(BRACED, "y"),
  raisebox: new RegExp(BRACED, "y"),
  genfrac: new RegExp(`(?:[ \\t\\n]*\\{[^{}]*\\}){2}(?:${BRACED}|[ \\t\\n]*\\{\\})`, "y"),
  row: new RegExp(`(?:\\[${LENGTH}\\])?(?!\\[)`, "y"),
  bare: new RegExp(`(?:${BRACED}|${LENGTH})`, "y"),
};
const ROWS = new Set([undefined, "cr", "newline"]);

/* Whether the size of `tex` is evident and within the limits. */
export function canBeTypeset(tex) {
  if (Array.from(tex).length > LONGEST_FORMULA || MACRO.test(tex) || braceDepth(tex) > DEEPEST_BRACES) return false;
  if ((tex.match(FONT_SIZE) ?? []).length > 1) return false; // nested sizes multiply
  let em = 0;
  let rows = 0;
  for (const command of tex.matchAll(SIZED)) {
    const isRow = ROWS.has(command[1]);
    rows += isRow;
    const form = isRow ? FORMS.row : FORMS[command[1]] ?? FORMS.bare;
    form.lastIndex = command.index + command[0].length;
    const found = form.exec(tex);
    if (!found) return false;
    for (const [, number, unit] of found[0].matchAll(new RegExp(LENGTH, "g"))) {
      if (!(unit in EM)) return false;
      em += Number(number) * EM[unit];
    }
  }
  return em <= MOST_EM && rows <= MOST_ROWS;
}

function braceDepth(tex) {
  let depth = 0;
  let deepest = 0;
  for (const [sign] of tex.matchAll(/\\[^\n]|[{}]/g)) {
    depth += (sign === "{") - (sign === "}");
    deepest = Math.max(deepest, depth);
  }
  return deepest;
}
