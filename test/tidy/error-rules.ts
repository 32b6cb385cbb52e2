import type { Disposition } from '../../src/core/errors.ts'

/** What the code says of an error code; the page says the same. */
export interface ErrorEntry {
  readonly disposition: Disposition
  readonly remedy: string
}

/** A row of the table in docs/errors.md. */
export interface ErrorRow {
  readonly code: string
  readonly disposition: string
  readonly cells: readonly string[]
}

/** The rows whose first cell is a code in backticks. */
export function errorRows(markdown: string): readonly ErrorRow[] {
  return markdown.split('\n').flatMap((line) => {
    const cells = line.split('|').slice(1, -1).map((cell) => cell.trim())
    const code = /^`([a-z]+\.[a-z_]+)`$/.exec(cells[0] ?? '')?.[1]
    return code === undefined ? [] : [{ code, disposition: (cells[2] ?? '').replaceAll('`', ''), cells }]
  })
}

/** What the page says and the code does not, and the other way round. */
export function errorPageComplaints(rows: readonly ErrorRow[], entries: Readonly<Record<string, ErrorEntry>>): readonly string[] {
  const told = new Set(rows.map((row) => row.code))
  return [
    ...Object.keys(entries).filter((code) => !told.has(code)).map((code) => `${code} is not in docs/errors.md`),
    ...rows.filter((row, at) => rows.findIndex((other) => other.code === row.code) !== at).map((row) => `${row.code} is told twice`),
    ...rows.flatMap((row) => rowComplaints(row, entries)),
  ]
}

/** Codes whose part before the dot is no folder under src. */
export function errorPrefixComplaints(codes: readonly string[], folders: readonly string[]): readonly string[] {
  return codes
    .filter((code) => !/^[a-z]+\.[a-z]+(?:_[a-z]+)*$/.test(code) || !folders.includes(code.slice(0, code.indexOf('.'))))
    .map((code) => `${code} does not begin with a folder under src`)
}

/** Codes that nothing in the source mentions, `errors.ts` apart. */
export function unusedCodeComplaints(codes: readonly string[], texts: readonly string[]): readonly string[] {
  return codes.filter((code) => !texts.some((text) => text.includes(`'${code}'`))).map((code) => `${code} is thrown nowhere`)
}

function rowComplaints(row: ErrorRow, entries: Readonly<Record<string, ErrorEntry>>): readonly string[] {
  const actual = entries[row.code]
  if (actual === undefined) return [`${row.code} is in docs/errors.md alone`]
  if (actual.disposition !== row.disposition) return [`${row.code} is ${actual.disposition} in the code and ${row.disposition} in docs/errors.md`]
  if (row.cells.length !== 4 || row.cells.some((cell) => cell === '')) return [`${row.code} has an empty cell in docs/errors.md`]
  return row.cells[3] === actual.remedy ? [] : [`${row.code} has another remedy in the code: node scripts/write-docs.mjs`]
}
