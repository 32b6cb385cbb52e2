import { TrunklineError } from '../core/errors.ts'
import { ID_LENGTH_MAX, KEY_BUCKETS, KEY_BYTES_MAX, NAME_LENGTH_MAX, TYPE_LENGTH_MAX } from '../core/limits.ts'

const TYPE = /^[a-z][a-z0-9]*(?:-[a-z0-9]+)*\.[a-z][a-z0-9]*(?:-[a-z0-9]+)*$/
const NAME = /^[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*$/
const TENANT = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/

/** True for `context.kebab-name`, the grammar of type names. */
export function isTypeName(text: string): boolean {
  // Callers without types may give anything.
  return typeof text === 'string' && text.length <= TYPE_LENGTH_MAX && TYPE.test(text)
}

/** True for the grammar of service, group and namespace names: lower case, digits, `-` and `_`. */
export function isName(text: string): boolean {
  return typeof text === 'string' && text.length <= NAME_LENGTH_MAX && NAME.test(text)
}

/** True for the grammar of tenant ids. */
export function isTenant(text: string): boolean {
  return TENANT.test(text)
}

/**
 * Gives the name back if it fits the grammar.
 *
 * @throws `core.option_invalid` otherwise.
 */
export function checkedName(option: string, name: string): string {
  if (!isName(name)) {
    throw new TrunklineError('core.option_invalid', {
      option,
      expected: `lower-case letters, digits, "-" and "_", starting with a letter, at most ${NAME_LENGTH_MAX} characters`,
      actual: String(JSON.stringify(name)).slice(0, 200),
    })
  }
  return name
}

/** A kind of contract with its article, for people. */
export function aKind(kind: 'event' | 'command' | 'query'): string {
  return kind === 'event' ? 'an event' : `a ${kind}`
}

/** The two halves of a type name. */
export function splitType(type: string): { readonly context: string; readonly name: string } {
  const dot = type.indexOf('.')
  return { context: type.slice(0, dot), name: type.slice(dot + 1) }
}

/** What is wrong with an ordering key, or undefined. */
export function keyProblem(key: unknown): string | undefined {
  if (typeof key !== 'string') return `the key is ${typeof key}, not a string`
  if (key.length === 0) return 'the key is empty'
  if (key.length > KEY_BYTES_MAX || Buffer.byteLength(key) > KEY_BYTES_MAX) return `the key is longer than ${KEY_BYTES_MAX} bytes`
  return hasControls(key) ? 'the key has control characters' : undefined
}

/** What is wrong with a message id, or undefined. */
export function idProblem(id: unknown): string | undefined {
  if (typeof id !== 'string' || id.length === 0) return 'the id is empty'
  if (id.length > ID_LENGTH_MAX) return `the id is longer than ${ID_LENGTH_MAX} characters`
  return hasControls(id) ? 'the id has control characters' : undefined
}

// oxlint-disable-next-line no-control-regex -- the control characters are what is looked for
const CONTROLS = /[\u0000-\u001f\u007f-\u009f]/

/** True where the text holds C0 or C1 control characters or lone surrogates. */
export function hasControls(text: string): boolean {
  return CONTROLS.test(text) || !text.isWellFormed()
}

/**
 * The bucket of a key, `0` to `63`: FNV-1a (32 bit) over the key's UTF-8 bytes, modulo 64. Part of
 * the wire format: every program that publishes keyed messages for ordered groups must agree on it.
 */
export function bucketOf(key: string): number {
  let hash = 0x811c9dc5
  for (let index = 0; index < key.length; index++) {
    const code = key.charCodeAt(index)
    if (code > 0x7f) return bucketOfBytes(Buffer.from(key))
    hash = Math.imul(hash ^ code, 0x01000193)
  }
  return (hash >>> 0) % KEY_BUCKETS
}

function bucketOfBytes(bytes: Uint8Array): number {
  let hash = 0x811c9dc5
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193)
  return (hash >>> 0) % KEY_BUCKETS
}

const PLAIN_TOKEN = /^[A-Za-z0-9_-]+$/

/**
 * Makes any text a single token of a subject or routing key: letters, digits, `_` and `-` stay, every
 * other UTF-8 byte becomes `=XX`. `tokenText` reverses it; the empty text becomes `=`.
 */
export function tokenOf(text: string): string {
  if (PLAIN_TOKEN.test(text)) return text
  if (text === '') return '='
  let token = ''
  for (const byte of Buffer.from(text)) {
    const char = String.fromCharCode(byte)
    token += PLAIN_TOKEN.test(char) ? char : `=${byte.toString(16).toUpperCase().padStart(2, '0')}`
  }
  return token
}

/** The text that `tokenOf` was given. */
export function tokenText(token: string): string {
  if (token === '=') return ''
  if (!token.includes('=')) return token
  const bytes: number[] = []
  for (let index = 0; index < token.length; index++) {
    if (token[index] === '=') {
      bytes.push(Number.parseInt(token.slice(index + 1, index + 3), 16))
      index += 2
    } else bytes.push(token.charCodeAt(index))
  }
  return Buffer.from(bytes).toString()
}
