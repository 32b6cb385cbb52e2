import { closeSync, existsSync, fsyncSync, openSync, readFileSync, truncateSync, writeSync } from 'node:fs'

/** An event that a client wants to write. */
export interface Proposed {
  readonly id: string
  readonly type: string
  readonly contentType: string
  readonly metadata: Uint8Array
  readonly data: Uint8Array
}

/** An event of the log. */
export interface Recorded extends Proposed {
  readonly stream: string
  /** From 0 in its stream. */
  readonly revision: bigint
  /** Byte offset in the log; commit and prepare position alike. */
  readonly position: bigint
  /** Hundreds of nanoseconds since 1970. */
  readonly createdTicks: bigint
}

/** What a writer expects of a stream. */
export type Expected = bigint | 'any' | 'no_stream' | 'stream_exists'

/** What became of an append. `undefined` as revision: the stream does not exist. */
export type AppendOutcome =
  | { readonly kind: 'done'; readonly revision: bigint | undefined; readonly position: bigint | undefined }
  | { readonly kind: 'wrong'; readonly current: bigint | undefined }
  | { readonly kind: 'deleted' }

/** What a stream's `$metadata` says about its events. */
interface Limits {
  readonly truncateBefore: bigint
  readonly countMax: number | undefined
  readonly ageMaxS: number | undefined
}

interface Stream {
  readonly events: Recorded[]
  isTombstoned: boolean
  limits: Limits
}

interface Line {
  readonly stream: string
  readonly tombstone?: true
  readonly events: readonly { readonly i: string; readonly t: string; readonly c: string; readonly m: string; readonly d: string; readonly at: string }[]
}

const NO_LIMITS: Limits = { truncateBefore: 0n, countMax: undefined, ageMaxS: undefined }
/** What a soft delete writes as `$tb`: nothing that was written so far is visible. */
const DELETED = 9_223_372_036_854_775_807n
/** Ids that a server remembers for appends without a revision. */
const RECENT_MAX = 100_000

/** How the log is kept. */
export interface LogOptions {
  /** An append-only file; in memory alone where it is not given. */
  readonly file?: string
  /** Each append is on the disk before it is answered. */
  readonly isSynced?: boolean
}

/**
 * The double's database: one log, its streams, and optionally a file with one line per append. What a stream's settings end stays in the whole log, as it
 * does in a server until somebody scavenges it.
 */
export class DoubleLog {
  readonly all: Recorded[] = []
  readonly #streams = new Map<string, Stream>()
  readonly #recent = new Map<string, Recorded>()
  readonly #listeners = new Set<() => void>()
  readonly #isSynced: boolean
  #file: number | undefined
  #offset = 0n

  constructor(options: LogOptions = {}) {
    this.#isSynced = options.isSynced ?? false
    if (options.file !== undefined) this.#open(options.file)
  }

  /** Position of the last event; -1 in an empty log. */
  get head(): bigint {
    return this.all.at(-1)?.position ?? -1n
  }

  /** Tells `listener` after every append. Gives back what ends that. */
  onAppended(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => {
      this.#listeners.delete(listener)
    }
  }

  isTombstoned(stream: string): boolean {
    return this.#streams.get(stream)?.isTombstoned ?? false
  }

  /** Revision of the last event ever written to it; undefined for a stream that never was. */
  lastRevision(stream: string): bigint | undefined {
    return this.#streams.get(stream)?.events.at(-1)?.revision
  }

  /** True where a reader is told that there is no such stream. */
  isMissing(stream: string): boolean {
    const found = this.#streams.get(stream)
    return found === undefined || found.events.length === 0 || found.limits.truncateBefore === DELETED
  }

  /** The visible events of a stream in order. */
  eventsOf(stream: string): readonly Recorded[] {
    const found = this.#streams.get(stream)
    if (found === undefined) return []
    const { truncateBefore, countMax, ageMaxS } = found.limits
    const oldestTicks = ageMaxS === undefined ? 0n : ticksNow() - BigInt(ageMaxS) * 10_000_000n
    const first = countMax === undefined ? 0n : (found.events.at(-1)?.revision ?? 0n) - BigInt(countMax) + 1n
    // An event's index is its revision, and times only grow: what is visible is the end of the list.
    const oldest = ageMaxS === undefined ? 0 : firstWhere(found.events, ({ createdTicks }) => createdTicks >= oldestTicks)
    const start = Math.max(oldest, truncateBefore > first ? Number(truncateBefore) : Number(first))
    return start <= 0 ? found.events : found.events.slice(start)
  }

  append(stream: string, expected: Expected, events: readonly Proposed[]): AppendOutcome {
    const found = this.#streams.get(stream)
    if (found?.isTombstoned === true) return { kind: 'deleted' }
    const last = found?.events.at(-1)
    const isDeleted = found?.limits.truncateBefore === DELETED
    const repeated = this.#repeated(stream, expected, events, found)
    if (repeated !== undefined) return repeated
    const current = last === undefined || isDeleted ? undefined : last.revision
    if (expected === 'stream_exists' && isDeleted) return { kind: 'deleted' }
    if (expected === 'stream_exists' && last === undefined) return { kind: 'wrong', current: undefined }
    if (expected === 'no_stream' && current !== undefined) return { kind: 'wrong', current }
    if (typeof expected === 'bigint' && expected !== last?.revision) return { kind: 'wrong', current: last?.revision }
    if (events.length === 0) return { kind: 'done', revision: current, position: undefined }
    const written = this.#write({ stream, events: events.map(lineOf) })
    if (isDeleted && last !== undefined) this.#setLimits(stream, `{"$tb":${last.revision + 1n}}`)
    this.#tell()
    return { kind: 'done', revision: written.at(-1)?.revision, position: written.at(-1)?.position }
  }

  /** Forgets the ids by which it recognises appends without a revision, as a server that was restarted has. */
  forgetIds(): void {
    this.#recent.clear()
  }

  /** Hides what was written so far; the numbering goes on behind it. */
  softDelete(stream: string, expected: Expected): AppendOutcome {
    const refusal = this.#refusal(stream, expected)
    if (refusal !== undefined) return refusal
    this.#setLimits(stream, `{"$tb":${DELETED}}`)
    this.#tell()
    return { kind: 'done', revision: this.lastRevision(stream), position: this.head }
  }

  /** Ends a stream for good. */
  tombstone(stream: string, expected: Expected): AppendOutcome {
    const refusal = this.#refusal(stream, expected)
    if (refusal !== undefined) return refusal
    this.#write({ stream, tombstone: true, events: [lineOf({ id: crypto.randomUUID(), type: '$streamDeleted', contentType: 'application/octet-stream', metadata: new Uint8Array(0), data: new Uint8Array(0) })] })
    this.#tell()
    return { kind: 'done', revision: this.lastRevision(stream), position: this.head }
  }

  close(): void {
    if (this.#file !== undefined) closeSync(this.#file)
    this.#file = undefined
  }

  #refusal(stream: string, expected: Expected): AppendOutcome | undefined {
    if (this.isTombstoned(stream)) return { kind: 'deleted' }
    const current = this.isMissing(stream) ? undefined : this.lastRevision(stream)
    if (typeof expected === 'bigint' && expected !== current) return { kind: 'wrong', current }
    if (expected === 'no_stream' && current !== undefined) return { kind: 'wrong', current }
    if (expected === 'stream_exists' && current === undefined) return { kind: 'wrong', current }
    return undefined
  }

  /** What an append answers whose events, or the first of them, are there already. */
  #repeated(stream: string, expected: Expected, events: readonly Proposed[], found: Stream | undefined): AppendOutcome | undefined {
    const first = events[0]
    const last = found?.events.at(-1)
    if (first === undefined || found === undefined || last === undefined) return undefined
    if (expected === 'any' || expected === 'stream_exists') {
      const known = events.map(({ id }) => this.#recent.get(id)).filter((event) => event?.stream === stream)
      if (this.#recent.get(first.id)?.stream !== stream) return undefined
      const whole = known.at(-1)
      if (known.length !== events.length || whole === undefined) return { kind: 'wrong', current: last.revision }
      return { kind: 'done', revision: whole.revision, position: whole.position }
    }
    const after = expected === 'no_stream' ? -1n : expected
    if (after >= last.revision) return undefined
    const stored = events.map((_, index) => found.events[Number(after) + 1 + index])
    if (!stored.every((event, index) => event?.id === events[index]?.id)) return undefined
    const whole = stored.at(-1)
    return whole === undefined ? undefined : { kind: 'done', revision: whole.revision, position: whole.position }
  }

  #setLimits(stream: string, json: string): void {
    const event = { id: crypto.randomUUID(), type: '$metadata', contentType: 'application/json', metadata: new Uint8Array(0), data: Buffer.from(json) }
    this.#write({ stream: `$$${stream}`, events: [lineOf(event)] })
  }

  #write(line: Line): readonly Recorded[] {
    if (this.#file !== undefined) {
      writeSync(this.#file, `${JSON.stringify(line)}\n`)
      if (this.#isSynced) fsyncSync(this.#file)
    }
    return this.#apply(line)
  }

  #apply({ stream, tombstone, events }: Line): readonly Recorded[] {
    const found = this.#streams.get(stream) ?? { events: [], isTombstoned: false, limits: NO_LIMITS }
    this.#streams.set(stream, found)
    if (tombstone === true) found.isTombstoned = true
    return events.map((written) => {
      const [metadata, data] = [Buffer.from(written.m, 'base64'), Buffer.from(written.d, 'base64')]
      const revision = (found.events.at(-1)?.revision ?? -1n) + 1n
      const event: Recorded = {
        id: written.i, type: written.t, contentType: written.c, metadata, data, stream, revision, position: this.#offset, createdTicks: BigInt(written.at),
      }
      this.#offset += BigInt(120 + stream.length + metadata.length + data.length)
      found.events.push(event)
      this.all.push(event)
      this.#remember(event)
      if (stream.startsWith('$$')) this.#limit(stream.slice(2), data.toString())
      return event
    })
  }

  #remember(event: Recorded): void {
    this.#recent.set(event.id, event)
    if (this.#recent.size <= RECENT_MAX) return
    for (const oldest of this.#recent.keys()) {
      this.#recent.delete(oldest)
      return
    }
  }

  #limit(stream: string, json: string): void {
    const found = this.#streams.get(stream) ?? { events: [], isTombstoned: false, limits: NO_LIMITS }
    this.#streams.set(stream, found)
    const numberOf = (name: string): string | undefined => new RegExp(`"\\${name}"\\s*:\\s*(\\d+)`).exec(json)?.[1]
    const [before, count, age] = [numberOf('$tb'), numberOf('$maxCount'), numberOf('$maxAge')]
    found.limits = {
      truncateBefore: BigInt(before ?? 0),
      countMax: count === undefined ? undefined : Number(count),
      ageMaxS: age === undefined ? undefined : Number(age),
    }
  }

  #tell(): void {
    for (const listener of this.#listeners) listener()
  }

  #open(file: string): void {
    if (existsSync(file)) {
      const text = readFileSync(file)
      // The end of a line that was being written when the process was killed was never answered.
      const end = text.lastIndexOf('\n') + 1
      for (const line of text.subarray(0, end).toString().split('\n')) if (line !== '') this.#apply(JSON.parse(line))
      truncateSync(file, end)
    }
    // Ids of earlier lives are not remembered: a server's cache starts empty.
    this.#recent.clear()
    this.#file = openSync(file, 'a')
  }
}

/** Index of the first one that passes, where all behind it pass as well; the length where none does. */
export function firstWhere<T>(list: readonly T[], passes: (one: T) => boolean): number {
  let [low, high] = [0, list.length]
  while (low < high) {
    const middle = (low + high) >>> 1
    const one = list[middle]
    if (one !== undefined && passes(one)) high = middle
    else low = middle + 1
  }
  return low
}

function lineOf({ id, type, contentType, metadata, data }: Proposed): Line['events'][number] {
  return { i: id, t: type, c: contentType, m: Buffer.from(metadata).toString('base64'), d: Buffer.from(data).toString('base64'), at: `${ticksNow()}` }
}

function ticksNow(): bigint {
  return BigInt(Date.now()) * 10_000n
}
