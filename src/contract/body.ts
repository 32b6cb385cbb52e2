import { TrunklineError } from '../core/errors.ts'
import { BODY_BYTES_MAX, BODY_DEPTH_MAX } from '../core/limits.ts'

// JSON text to bytes and back, refusing what JSON.stringify and JSON.parse would change in silence.

const DECODER = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const NUMBER_TOKEN = /-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/y
const DANGEROUS_KEYS: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype'])

/**
 * Writes a value as JSON bytes.
 *
 * @throws `contract.payload_unencodable` for what JSON cannot hold (`NaN`, functions, `bigint`,
 *   `Date`, `Map`, class instances, cycles, lone surrogates, `undefined` inside arrays), with the path.
 * @throws `contract.payload_too_large` beyond `bytesMax`.
 */
export function encodeBody(type: string, data: unknown, bytesMax: number = BODY_BYTES_MAX): Buffer {
  if (data === undefined || data === null) return Buffer.from('null')
  checkValue(type, data, 1)
  let text: string
  try {
    text = JSON.stringify(data)
  } catch (cause) {
    throw unencodable(type, '', 'it cannot be written as JSON', cause)
  }
  const body = Buffer.from(text)
  if (body.length > bytesMax) throw new TrunklineError('contract.payload_too_large', { type, bytes: body.length, bytesMax })
  return body
}

function unencodable(type: string, path: string, problem: string, cause?: unknown): TrunklineError {
  return new TrunklineError('contract.payload_unencodable', { type, path, problem }, cause === undefined ? {} : { cause })
}

/** Walks the value without allocating; the path is built only for an error, on the way out. */
function checkValue(type: string, value: unknown, depth: number): void {
  const problem = findProblem(value, depth)
  if (problem !== undefined) throw unencodable(type, problem.path.join('.'), problem.text)
}

interface Problem {
  readonly path: string[]
  readonly text: string
}

function problemAt(text: string): Problem {
  return { path: [], text }
}

function findProblem(value: unknown, depth: number): Problem | undefined {
  switch (typeof value) {
    case 'string':
      return value.isWellFormed() ? undefined : problemAt('the text has a lone surrogate')
    case 'number':
      return Number.isFinite(value) ? undefined : problemAt(`${value} has no JSON form`)
    case 'boolean':
      return undefined
    case 'object':
      return value === null ? undefined : findInObject(value, depth)
    case 'bigint':
    case 'function':
    case 'symbol':
    case 'undefined':
      return problemAt(`a ${typeof value} has no JSON form`)
    default:
      return undefined
  }
}

function findInObject(value: object, depth: number): Problem | undefined {
  if (depth > BODY_DEPTH_MAX) return problemAt(`nested deeper than ${BODY_DEPTH_MAX} levels, or a cycle`)
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index++) {
      const problem = findProblem(value[index], depth + 1)
      if (problem !== undefined) return within(problem, `${index}`)
    }
    return undefined
  }
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype !== Object.prototype && prototype !== null) {
    return problemAt(`an instance of ${value.constructor?.name ?? 'a class'} is not plain data`)
  }
  for (const name in value) {
    let item: unknown
    try {
      item = Reflect.get(value, name)
    } catch (thrown) {
      return within(problemAt(`the getter threw: ${String(thrown)}`), name)
    }
    if (item === undefined) continue
    if (DANGEROUS_KEYS.has(name) && Object.hasOwn(value, name)) return within(problemAt('the key is refused because it can change prototypes'), name)
    const problem = findProblem(item, depth + 1)
    if (problem !== undefined) return within(problem, name)
  }
  return undefined
}

function within(problem: Problem, name: string): Problem {
  problem.path.unshift(name)
  return problem
}

/**
 * Reads JSON bytes.
 *
 * @throws `contract.body_malformed` for bytes that are not UTF-8 or not JSON, nesting beyond 64
 *   levels, numbers that JavaScript cannot hold exactly as written (integers beyond 2^53, `1e400`),
 *   and the keys `__proto__`, `constructor` and `prototype`. A byte-order mark is refused too.
 * @throws `contract.payload_too_large` beyond `bytesMax`.
 */
export function decodeBody(type: string, body: Uint8Array, bytesMax: number = BODY_BYTES_MAX): unknown {
  if (body.length > bytesMax) throw new TrunklineError('contract.payload_too_large', { type, bytes: body.length, bytesMax })
  if (body.length === 0) throw malformed(type, 'the body is empty')
  const scan = scanBody(body)
  if (scan.depth > BODY_DEPTH_MAX) throw malformed(type, `nested deeper than ${BODY_DEPTH_MAX} levels`)
  let data: unknown
  try {
    const text = scan.isAscii ? asciiText(body) : DECODER.decode(body)
    if (scan.hasLongNumber) checkNumbers(type, text)
    data = JSON.parse(text)
  } catch (cause) {
    if (cause instanceof TrunklineError) throw cause
    throw malformed(type, `not UTF-8 JSON: ${cause instanceof Error ? cause.message.slice(0, 200) : ''}`, cause)
  }
  if (scan.mayHaveDangerousKey) checkKeys(type, data)
  return data
}

function malformed(type: string, problem: string, cause?: unknown): TrunklineError {
  return new TrunklineError('contract.body_malformed', { type, problem }, cause === undefined ? {} : { cause })
}

function asciiText(body: Uint8Array): string {
  const bytes = Buffer.isBuffer(body) ? body : Buffer.from(body.buffer, body.byteOffset, body.length)
  return bytes.toString('latin1')
}

interface Scan {
  isAscii: boolean
  depth: number
  /** A number long enough, or with an exponent, that it may not survive as a double. */
  hasLongNumber: boolean
  mayHaveDangerousKey: boolean
}

const QUOTE = 0x22
const BACKSLASH = 0x5c
const SAFE_DIGITS = 15

/** One pass over the bytes that decides which of the slower checks are needed at all. */
function scanBody(body: Uint8Array): Scan {
  const scan: Scan = { isAscii: true, depth: 0, hasLongNumber: false, mayHaveDangerousKey: false }
  let depth = 0
  let digits = 0
  let seen = 0
  const end = body.length
  for (let index = 0; index < end; index++) {
    const byte = body[index] ?? 0
    seen |= byte
    if (byte === QUOTE) {
      digits = 0
      const first = body[index + 1]
      // "__proto__", "constructor", "prototype", or any escape that could spell them.
      if (first === 0x5f || first === 0x63 || first === 0x70) scan.mayHaveDangerousKey = true
      for (index++; index < end; index++) {
        const inside = body[index] ?? 0
        if (inside === QUOTE) break
        seen |= inside
        if (inside === BACKSLASH) {
          if (body[index + 1] === 0x75) scan.mayHaveDangerousKey = true
          index++
          seen |= body[index] ?? 0
        }
      }
    } else if (byte >= 0x30 && byte <= 0x39) {
      if (++digits > SAFE_DIGITS) scan.hasLongNumber = true
    } else if (byte === 0x2e) {
      // The digits go on behind the point.
    } else {
      if ((byte === 0x65 || byte === 0x45) && digits > 0) scan.hasLongNumber = true
      digits = 0
      if (byte === 0x7b || byte === 0x5b) {
        if (++depth > scan.depth) scan.depth = depth
      } else if (byte === 0x7d || byte === 0x5d) depth--
    }
  }
  scan.isAscii = seen < 0x80
  return scan
}

/** Refuses numbers that change when they become a double. Text inside strings is passed over. */
function checkNumbers(type: string, text: string): void {
  for (let index = 0; index < text.length; index++) {
    const char = text.charCodeAt(index)
    if (char === QUOTE) {
      for (index++; index < text.length && text.charCodeAt(index) !== QUOTE; index++) {
        if (text.charCodeAt(index) === BACKSLASH) index++
      }
    } else if (char === 0x2d || (char >= 0x30 && char <= 0x39)) {
      NUMBER_TOKEN.lastIndex = index
      const token = NUMBER_TOKEN.exec(text)?.[0]
      if (token === undefined) continue
      const value = Number(token)
      const isInteger = /^-?\d+$/.test(token)
      if (!Number.isFinite(value) || (isInteger && !Number.isSafeInteger(value))) {
        throw malformed(type, `the number ${token.slice(0, 40)} cannot be held exactly; send it as text`)
      }
      index += token.length - 1
    }
  }
}

function checkKeys(type: string, root: unknown): void {
  const open: unknown[] = [root]
  while (open.length > 0) {
    const value = open.pop()
    if (typeof value !== 'object' || value === null) continue
    if (!Array.isArray(value)) {
      for (const name of Object.keys(value)) {
        if (DANGEROUS_KEYS.has(name)) throw malformed(type, `the key ${JSON.stringify(name)} is refused because it can change prototypes`)
      }
    }
    open.push(...Object.values(value))
  }
}
