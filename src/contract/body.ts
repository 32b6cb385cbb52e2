import { isUtf8 } from 'node:buffer'
import { TrunklineError } from '../core/errors.ts'
import { BODY_BYTES_MAX, BODY_DEPTH_MAX } from '../core/limits.ts'

// JSON text to bytes and back, refusing what JSON.stringify and JSON.parse would change in silence. Both
// directions walk the value once; the walk allocates nothing, and the path is built only for an error.

const NUMBER_TOKEN = /-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/y
const UNDERSCORE = 0x5f
const LOWER_C = 0x63
const LOWER_P = 0x70

/**
 * Writes a value as JSON bytes.
 *
 * @throws `contract.payload_unencodable` for what JSON cannot hold (`NaN`, functions, `bigint`,
 *   `Date`, `Map`, class instances, cycles, lone surrogates, `undefined` inside arrays) and for whole
 *   numbers beyond 2^53, with the path.
 * @throws `contract.payload_too_large` beyond `bytesMax`.
 */
export function encodeBody(type: string, data: unknown, bytesMax: number = BODY_BYTES_MAX): Buffer {
  if (data === undefined || data === null) return Buffer.from('null')
  let text: string
  try {
    const problem = findProblem(data, 1)
    if (problem !== undefined) throw unencodable(type, problem)
    text = JSON.stringify(data)
  } catch (cause) {
    if (cause instanceof TrunklineError) throw cause
    throw unencodable(type, problemAt('it cannot be read or written as JSON'), cause)
  }
  // JSON.stringify escapes lone surrogates, so well-formed text holds no such escape unless a user wrote one out.
  if (text.includes('\\ud')) checkSurrogates(type, data)
  const body = Buffer.from(text)
  if (body.length > bytesMax) throw new TrunklineError('contract.payload_too_large', { type, bytes: body.length, bytesMax })
  return body
}

interface Problem {
  readonly path: string[]
  readonly text: string
}

function problemAt(text: string): Problem {
  return { path: [], text }
}

function within(problem: Problem, name: string): Problem {
  problem.path.unshift(name)
  return problem
}

function unencodable(type: string, problem: Problem, cause?: unknown): TrunklineError {
  const details = { type, path: problem.path.join('.'), problem: problem.text }
  return new TrunklineError('contract.payload_unencodable', details, cause === undefined ? {} : { cause })
}

function findProblem(value: unknown, depth: number): Problem | undefined {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return undefined
    case 'number':
      return numberProblem(value)
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

/** JSON.stringify writes numbers from here on with an exponent. */
const EXPONENT_FROM = 1e21

/** What `decodeBody` would refuse is refused here, so that nothing is published which no group can read (B13). */
function numberProblem(value: number): Problem | undefined {
  if (value <= Number.MAX_SAFE_INTEGER && value >= Number.MIN_SAFE_INTEGER) return undefined
  if (!Number.isFinite(value)) return problemAt(`${value} has no JSON form`)
  return Math.abs(value) < EXPONENT_FROM ? problemAt(`${value} is beyond 2^53, where whole numbers are not exact; send it as text`) : undefined
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
  // A plain object can be read by name; the reads below are what JSON.stringify does too.
  const fields = value as Readonly<Record<string, unknown>>
  for (const name in fields) {
    const item = fields[name]
    if (item === undefined) continue
    if (isDangerous(name)) return within(problemAt('the key is refused because it can change prototypes'), name)
    const problem = typeof item === 'string' ? undefined : findProblem(item, depth + 1)
    if (problem !== undefined) return within(problem, name)
  }
  return undefined
}

/** The keys with which a careless merge changes prototypes. */
function isDangerous(name: string): boolean {
  const first = name.charCodeAt(0)
  if (first !== UNDERSCORE && first !== LOWER_C && first !== LOWER_P) return false
  return name === '__proto__' || name === 'constructor' || name === 'prototype'
}

function checkSurrogates(type: string, data: unknown, path: readonly string[] = []): void {
  if (typeof data === 'string' && !data.isWellFormed()) throw unencodable(type, { path: [...path], text: 'the text has a lone surrogate' })
  if (typeof data !== 'object' || data === null) return
  for (const [name, item] of Object.entries(data)) {
    if (!name.isWellFormed()) throw unencodable(type, { path: [...path], text: 'a key has a lone surrogate' })
    checkSurrogates(type, item, [...path, name])
  }
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
  const text = textOf(type, body)
  let data: unknown
  try {
    data = JSON.parse(text)
  } catch (cause) {
    throw malformed(type, `not JSON: ${cause instanceof Error ? cause.message.slice(0, 200) : ''}`, cause)
  }
  const finding = inspect(data, 1)
  if (finding === 'number') checkNumbers(type, text)
  else if (finding !== undefined) throw malformed(type, finding)
  return data
}

function malformed(type: string, problem: string, cause?: unknown): TrunklineError {
  return new TrunklineError('contract.body_malformed', { type, problem }, cause === undefined ? {} : { cause })
}

/** Decoding puts this in the place of bytes that are no UTF-8. */
const REPLACEMENT = '\ufffd'

/** Bytes as text. Whether they are UTF-8 is looked at only where the text tells that they may not be. */
function textOf(type: string, body: Uint8Array): string {
  const bytes = Buffer.isBuffer(body) ? body : Buffer.from(body.buffer, body.byteOffset, body.length)
  const text = bytes.toString('utf8')
  if (text.includes(REPLACEMENT) && !isUtf8(bytes)) throw malformed(type, 'the body is not UTF-8')
  return text
}

/** What is wrong with a parsed value; `number` where a number is so large that its text has to be looked at. */
function inspect(value: unknown, depth: number): string | undefined {
  if (typeof value === 'number') return value > Number.MAX_SAFE_INTEGER || value < Number.MIN_SAFE_INTEGER ? 'number' : undefined
  if (typeof value !== 'object' || value === null) return undefined
  if (depth > BODY_DEPTH_MAX) return `nested deeper than ${BODY_DEPTH_MAX} levels`
  let found: string | undefined
  if (Array.isArray(value)) {
    for (const item of value) found = worse(found, inspect(item, depth + 1))
    return found
  }
  // JSON.parse made it, so it has own, plain properties only.
  const fields = value as Readonly<Record<string, unknown>>
  for (const name in fields) {
    if (isDangerous(name)) return `the key ${JSON.stringify(name)} is refused because it can change prototypes`
    const item = fields[name]
    if (typeof item !== 'string') found = worse(found, inspect(item, depth + 1))
  }
  return found
}

/** A certain refusal counts more than a number that needs a second look. */
function worse(first: string | undefined, second: string | undefined): string | undefined {
  if (second === undefined || first === second) return first
  return first === undefined || first === 'number' ? second : first
}

const QUOTE = 0x22
const BACKSLASH = 0x5c

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
      const isInteger = /^-?\d+(?:\.0+)?$/.test(token)
      if (!Number.isFinite(value) || (isInteger && !Number.isSafeInteger(value))) {
        throw malformed(type, `the number ${token.slice(0, 40)} cannot be held exactly; send it as text`)
      }
      index += token.length - 1
    }
  }
}
