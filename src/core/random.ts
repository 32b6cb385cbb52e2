import { createHash, randomFillSync } from 'node:crypto'

/** The only source of randomness and of ids in the library. */
export interface Random {
  /** A number in `[0, 1)`. */
  next(): number
  /**
   * A UUIDv7 (RFC 9562) for the given wall-clock time. Ids of one source sort in the order in which
   * they were made, also within one millisecond and when the clock steps back.
   */
  id(nowMs: number): string
}

const HEX: readonly string[] = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'))
const ID_BYTES = 10
const COUNTER_MAX = 0xfff

/** Writes UUIDv7 text: 48 bits of time, a 12-bit counter (method 1 of RFC 9562, 6.2), 62 random bits. */
class IdMaker {
  #lastMs = 0
  #counter = 0
  #prefixMs = -1
  #prefix = ''

  make(nowMs: number, bytes: Uint8Array, at: number): string {
    const seed = ((byteAt(bytes, at) & 0x07) << 8) | byteAt(bytes, at + 1)
    if (nowMs > this.#lastMs) {
      this.#lastMs = nowMs
      this.#counter = seed
    } else if (++this.#counter > COUNTER_MAX) {
      this.#lastMs += 1
      this.#counter = seed
    }
    if (this.#prefixMs !== this.#lastMs) this.#renewPrefix()
    const counter = this.#counter
    return (
      this.#prefix + (counter >>> 8).toString(16) + hex(counter) + '-' +
      hex(0x80 | (byteAt(bytes, at + 2) & 0x3f)) + hex(byteAt(bytes, at + 3)) + '-' +
      hex(byteAt(bytes, at + 4)) + hex(byteAt(bytes, at + 5)) + hex(byteAt(bytes, at + 6)) +
      hex(byteAt(bytes, at + 7)) + hex(byteAt(bytes, at + 8)) + hex(byteAt(bytes, at + 9))
    )
  }

  #renewPrefix(): void {
    const text = this.#lastMs.toString(16).padStart(12, '0')
    this.#prefix = `${text.slice(0, 8)}-${text.slice(8)}-7`
    this.#prefixMs = this.#lastMs
  }
}

function byteAt(bytes: Uint8Array, at: number): number {
  return bytes[at] ?? 0
}

function hex(value: number): string {
  return HEX[value & 0xff] ?? ''
}

class SystemRandom implements Random {
  readonly #ids = new IdMaker()
  readonly #pool = new Uint8Array(ID_BYTES * 256)
  #used = this.#pool.length

  next(): number {
    return Math.random()
  }

  id(nowMs: number): string {
    if (this.#used === this.#pool.length) {
      randomFillSync(this.#pool)
      this.#used = 0
    }
    const at = this.#used
    this.#used += ID_BYTES
    return this.#ids.make(nowMs, this.#pool, at)
  }
}

/** The machine's randomness. */
export const systemRandom: Random = new SystemRandom()

class SeededRandom implements Random {
  readonly #ids = new IdMaker()
  readonly #bytes = new Uint8Array(ID_BYTES)
  #state: number

  constructor(seed: number) {
    this.#state = seed >>> 0
  }

  /** mulberry32 (Tommy Ettinger, public domain): small, fast, good enough to drive a simulation. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let mixed = this.#state
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000
  }

  id(nowMs: number): string {
    for (let index = 0; index < ID_BYTES; index++) this.#bytes[index] = Math.floor(this.next() * 256)
    return this.#ids.make(nowMs, this.#bytes, 0)
  }
}

/** Randomness that repeats: one seed always gives the same numbers and the same ids. */
export function seededRandom(seed: number): Random {
  return new SeededRandom(seed)
}

/** A UUIDv5-shaped id (RFC 9562, 5.5) that is the same for the same parts on every machine. */
export function derivedId(...parts: readonly string[]): string {
  const digest = createHash('sha256').update(JSON.stringify(parts)).digest()
  digest[6] = (byteAt(digest, 6) & 0x0f) | 0x50
  digest[8] = (byteAt(digest, 8) & 0x3f) | 0x80
  const text = digest.toString('hex', 0, 16)
  return `${text.slice(0, 8)}-${text.slice(8, 12)}-${text.slice(12, 16)}-${text.slice(16, 20)}-${text.slice(20)}`
}
