import { ATTRIBUTE_NAMES } from '../../contract/wire.ts'
import type { NatsMessage } from './nats-client.ts'

// Header blocks as text. The clients' own header objects normalise, validate and search linearly; building
// and reading the block directly is several times faster and keeps what other programs wrote.

const FIRST_LINE = 'NATS/1.0\r\n'
const VERSION = 'NATS/1.0'

/** A header block that both clients accept where they expect their own: they only call `encode`. */
export class HeaderBlock {
  readonly text: string
  readonly byteLength: number

  /** @param lines header lines, each ended by CR LF, without control characters in between. */
  constructor(lines: string) {
    this.text = `${FIRST_LINE}${lines}\r\n`
    this.byteLength = Buffer.byteLength(this.text)
  }

  encode(): Uint8Array {
    return Buffer.from(this.text)
  }
}

/**
 * The header block of a message as text, empty where it has none.
 *
 * @param subjectLength the subject's length where the caller knows or can guess it: decoding the subject costs more than a guess.
 */
export function headerText(message: NatsMessage, data: Uint8Array, reply: string | undefined, subjectLength?: number): string {
  const sizeOf = message.size?.()
  if (sizeOf !== undefined) {
    // Both clients hand out data as a view behind its headers, so the block is right before it.
    const beside = sizeOf - (reply?.length ?? 0) - data.length
    if (beside === subjectLength && beside === message.subject.length) return ''
    const guessed = subjectLength === undefined ? undefined : blockBefore(data, beside - subjectLength)
    return guessed ?? blockBefore(data, beside - message.subject.length) ?? rebuilt(message)
  }
  return rebuilt(message)
}

let lastChunk: Buffer<ArrayBufferLike> = Buffer.alloc(0)

/** A view of a whole chunk. Many messages come in one chunk, and each new view costs as much as reading a header block. */
function chunkOf(memory: ArrayBufferLike): Buffer<ArrayBufferLike> {
  if (lastChunk.buffer !== memory) lastChunk = Buffer.from(memory)
  return lastChunk
}

/** The block of that length right before `data`, or undefined where there is none. */
function blockBefore(data: Uint8Array, length: number): string | undefined {
  if (length < FIRST_LINE.length || length > data.byteOffset) return undefined
  const text = chunkOf(data.buffer).toString('utf8', data.byteOffset - length, data.byteOffset)
  return text.startsWith(VERSION) && text.endsWith('\r\n\r\n') ? text : undefined
}

/** For a client that keeps headers elsewhere. */
function rebuilt(message: NatsMessage): string {
  const { headers } = message
  if (headers === undefined) return ''
  let text = headers.code === 0 ? FIRST_LINE : `${VERSION} ${headers.code} ${headers.description}\r\n`
  for (const [name, values] of headers) for (const value of values) text += `${name}: ${value}\r\n`
  return `${text}\r\n`
}

/** Status code of a header block; 0 where it has none. */
export function statusOf(text: string): number {
  if (text.charCodeAt(VERSION.length) !== 0x20) return 0
  const code = Number.parseInt(text.slice(VERSION.length + 1, VERSION.length + 4), 10)
  return Number.isNaN(code) ? 0 : code
}

/** Words after the status code. */
export function statusText(text: string): string {
  return text.slice(VERSION.length + 5, Math.max(0, text.indexOf('\r\n'))).slice(0, 200)
}

/** What a header block says, with names in lower case. */
export interface Headers {
  /** CloudEvents attributes at the places of `ATTRIBUTE_NAMES`, still escaped. Those that nobody knows are left out. */
  readonly values: readonly (string | undefined)[]
  /** All other headers. */
  readonly others: ReadonlyMap<string, string>
  /** True where a value may be escaped or quoted. */
  readonly isEscaped: boolean
}

const PREFIX = 'ce-'
/** Beginnings of lines in the order in which this library writes them: the next line is nearly always one of the next few. */
const LINE_HEADS: readonly string[] = ATTRIBUTE_NAMES.map((name) => `${PREFIX}${name}: `)
/** Their fifth characters: most heads are told apart by it without comparing text. */
const MARK_AT = PREFIX.length + 1
const MARKS: readonly number[] = LINE_HEADS.map((head) => head.charCodeAt(MARK_AT))
const NO_VALUES: readonly (string | undefined)[] = LINE_HEADS.map(() => undefined)
const NO_OTHERS: ReadonlyMap<string, string> = new Map()
const BLANK = 0x20

/** The value of an attribute, still escaped, or undefined. */
export function attributeOf(headers: Headers, name: string): string | undefined {
  return headers.values[ATTRIBUTE_NAMES.indexOf(name)]
}

/**
 * Values without surrounding blanks. Of a repeated name the first counts, so that nobody can override an attribute by
 * appending it again.
 */
export function parseHeaders(text: string): Headers {
  const values = NO_VALUES.slice()
  let others: Map<string, string> | undefined
  let at = text.indexOf('\r\n') + 2
  let expected = 0
  for (let end = lineEnd(text, at); end > at; end = lineEnd(text, at)) {
    const found = headAt(text, at, expected)
    if (found >= 0) {
      expected = found + 1
      values[found] ??= valueAt(text, at + (LINE_HEADS[found]?.length ?? 0) - 1, end)
    } else others = readLine(text, at, end, values, others)
    at = end + 2
  }
  return { values, others: others ?? NO_OTHERS, isEscaped: text.includes('%') || text.includes('"') }
}

/** Where the line that begins at `at` ends; not behind `at` where there is none. */
function lineEnd(text: string, at: number): number {
  return at < 2 ? -1 : text.indexOf('\r\n', at)
}

/** Index of the head that the line at `at` begins with, looking from `expected` on; -1 where it is none of them. */
function headAt(text: string, at: number, expected: number): number {
  const mark = text.charCodeAt(at + MARK_AT)
  for (let index = expected; index < LINE_HEADS.length; index++) {
    if (MARKS[index] === mark && text.startsWith(LINE_HEADS[index] ?? '', at)) return index
  }
  return -1
}

/** Takes a line that is written in another order or with other capitals than ours, or that is no attribute. */
function readLine(text: string, at: number, end: number, values: (string | undefined)[], others: Map<string, string> | undefined): Map<string, string> | undefined {
  const colon = text.indexOf(':', at)
  if (colon <= at || colon >= end) return others
  const isAttribute = isPrefixed(text, at)
  const name = text.slice(isAttribute ? at + PREFIX.length : at, colon).toLowerCase()
  if (isAttribute) {
    const index = ATTRIBUTE_NAMES.indexOf(name)
    if (index >= 0) values[index] ??= valueAt(text, colon + 1, end)
    return others
  }
  const found = others ?? new Map<string, string>()
  if (!found.has(name)) found.set(name, valueAt(text, colon + 1, end))
  return found
}

function isPrefixed(text: string, at: number): boolean {
  return text.charCodeAt(at + 2) === 0x2d && (text.startsWith(PREFIX, at) || text.slice(at, at + PREFIX.length).toLowerCase() === PREFIX)
}

function valueAt(text: string, start: number, end: number): string {
  const from = text.charCodeAt(start) === BLANK ? start + 1 : start
  const isTrimmed = from < end && text.charCodeAt(from) > BLANK && text.charCodeAt(end - 1) > BLANK
  const value = text.slice(from, end)
  return isTrimmed ? value : value.trim()
}

/** Lines of a block that are neither the broker's nor our own notes: what a copy of the message keeps. */
export function originalLines(text: string): string {
  let lines = ''
  let at = text.indexOf('\r\n') + 2
  if (at < 2) return lines
  for (;;) {
    const end = text.indexOf('\r\n', at)
    if (end <= at) return lines
    const line = text.slice(at, end + 2)
    if (!/^(?:nats-|trunkline-)/i.test(line)) lines += line
    at = end + 2
  }
}
