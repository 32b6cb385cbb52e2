// A streaming reader for comma-separated files from the real world. One bad line costs one record and
// never the rest of the file.

/** Longest line that is read; longer ones are refused, and never held in memory whole. */
export const LINE_BYTES_MAX = 65_536
/** Most lines that one record may span when a quoted field holds line breaks. */
const LINES_MAX = 8

/** One line of the file. `problem` says why its text is not what the file holds. */
interface Line {
  readonly number: number
  readonly text: string
  readonly problem?: string
}

/** One record: its fields, or the reason why it has none. Line numbers are 1-based. */
export type CsvRecord =
  | { readonly kind: 'fields'; readonly line: number; readonly lastLine: number; readonly text: string; readonly fields: readonly string[] }
  | { readonly kind: 'broken'; readonly line: number; readonly lastLine: number; readonly text: string; readonly problem: string }

/**
 * Splits one record; undefined where a quoted field is not closed. A quote inside an unquoted field is a plain
 * character, and so is what stands between a closing quote and the comma, unless `isStrict` refuses that.
 */
export function fieldsOf(text: string, isStrict = false): readonly string[] | undefined {
  const fields: string[] = []
  let at = 0
  for (;;) {
    const field = text[at] === '"' ? quotedField(text, at, isStrict) : plainField(text, at)
    if (field === undefined) return undefined
    fields.push(field.value)
    if (field.end >= text.length) return fields
    at = field.end + 1
  }
}

function plainField(text: string, start: number): { readonly value: string; readonly end: number } {
  const comma = text.indexOf(',', start)
  const end = comma === -1 ? text.length : comma
  return { value: text.slice(start, end), end }
}

function quotedField(text: string, start: number, isStrict: boolean): { readonly value: string; readonly end: number } | undefined {
  let value = ''
  let at = start + 1
  for (;;) {
    const quote = text.indexOf('"', at)
    if (quote === -1) return undefined
    value += text.slice(at, quote)
    if (text[quote + 1] !== '"') {
      const rest = plainField(text, quote + 1)
      return isStrict && rest.value !== '' ? undefined : { value: value + rest.value, end: rest.end }
    }
    value += '"'
    at = quote + 2
  }
}

/** A field as it is written: quoted where it has to be. */
export function fieldText(value: string): string {
  return /[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value
}

/** The bytes of a file, piece by piece, as `createReadStream` gives them. */
export type Chunks = AsyncIterable<Buffer>

/** The records of a file from a line on, 1 by default. Empty lines are passed over; a record with line breaks has the number of its first line. */
export async function* csvRecords(chunks: Chunks, options: { readonly columns: number; readonly fromLine?: number }): AsyncGenerator<CsvRecord> {
  const lines = new LookAhead(linesOf(chunks, options.fromLine ?? 1))
  for (;;) {
    const first = await lines.next()
    if (first === undefined) return
    if (first.problem !== undefined) yield broken(first, first.problem)
    else if (first.text.trim() !== '') yield await recordFrom(first, lines, options.columns)
  }
}

async function recordFrom(first: Line, lines: LookAhead, columns: number): Promise<CsvRecord> {
  let { text } = first
  let lastLine = first.number
  let fields = fieldsOf(text)
  for (let ahead = 0; fields === undefined && ahead < LINES_MAX - 1; ahead++) {
    const line = await lines.peek(ahead)
    if (line === undefined || line.problem !== undefined) break
    text += `\n${line.text}`
    lastLine = line.number
    // A stray quote could swallow good lines up to their next quote: only a record that is exact in all else spans lines.
    fields = fieldsOf(text, true)
  }
  const isWhole = fields !== undefined && (lastLine === first.number || fields.length === columns)
  if (fields === undefined || !isWhole) return broken(first, 'a quoted field is not closed')
  lines.drop(lastLine - first.number)
  return { kind: 'fields', line: first.number, lastLine, text, fields }
}

function broken(line: Line, problem: string): CsvRecord {
  return { kind: 'broken', line: line.number, lastLine: line.number, text: line.text, problem }
}

/** Lines that can be looked at before they are taken. */
class LookAhead {
  readonly #lines: AsyncIterator<Line>
  readonly #seen: Line[] = []

  constructor(lines: AsyncIterable<Line>) {
    this.#lines = lines[Symbol.asyncIterator]()
  }

  async next(): Promise<Line | undefined> {
    const line = await this.peek(0)
    this.#seen.shift()
    return line
  }

  async peek(ahead: number): Promise<Line | undefined> {
    while (this.#seen.length <= ahead) {
      const { done, value } = await this.#lines.next()
      if (done === true) return undefined
      this.#seen.push(value)
    }
    return this.#seen[ahead]
  }

  drop(count: number): void {
    this.#seen.splice(0, count)
  }
}

const NEW_LINE = 0x0a

async function* linesOf(chunks: Chunks, fromLine: number): AsyncGenerator<Line> {
  let parts: Buffer[] = []
  let bytes = 0
  let number = 1
  const take = (): Line | undefined => {
    const line = number < fromLine ? undefined : lineOf(number, parts, bytes)
    parts = []
    bytes = 0
    number++
    return line
  }
  for await (const chunk of chunks) {
    let rest = chunk
    for (let end = rest.indexOf(NEW_LINE); end !== -1; end = rest.indexOf(NEW_LINE)) {
      if (bytes <= LINE_BYTES_MAX) parts.push(rest.subarray(0, end))
      bytes += end
      rest = rest.subarray(end + 1)
      const line = take()
      if (line !== undefined) yield line
    }
    if (bytes <= LINE_BYTES_MAX && rest.length > 0) parts.push(rest)
    bytes += rest.length
  }
  const last = bytes > 0 ? take() : undefined
  if (last !== undefined) yield last
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function lineOf(number: number, parts: readonly Buffer[], bytes: number): Line {
  const raw = Buffer.concat(parts)
  if (bytes > LINE_BYTES_MAX) return { number, text: raw.toString('latin1', 0, 1_000), problem: `the line has ${bytes} bytes; ${LINE_BYTES_MAX} are allowed` }
  try {
    const text = decoder.decode(raw).replace(/\r$/, '')
    return { number, text: number === 1 ? text.replace(/^\uFEFF/, '') : text }
  } catch {
    return { number, text: raw.toString('latin1'), problem: 'the line is not UTF-8' }
  }
}
