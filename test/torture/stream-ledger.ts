import { type AllStreamRecordedEvent, EventStoreDBClient, FORWARDS, START, type Position } from '@eventstore/db-client'
import type { Ledger, Progress } from './ledger.ts'
import { OPENING_CENTS } from './plan.ts'
import type { Asked, Books, Effect } from './reckoning.ts'

const PAGE = 2_000
const READ_MS = 10_000

type Data = Readonly<Record<string, unknown>>

/** An event of a stream of the torture. */
export interface StreamRecord {
  /** Category and name of its stream. */
  readonly category: string
  readonly name: string
  readonly type: string
  readonly data: Data
}

/** What one event means: a transfer that was asked for, or an effect, perhaps one that moves money. */
export type Meaning = { readonly asked: Asked } | { readonly effect: Effect; readonly account?: string; readonly cents?: number }

/** Accounts as streams: everything is folded from the log, in the order of the log. */
export class StreamLedger implements Ledger {
  readonly #address: string
  #client: EventStoreDBClient | undefined
  #position: Position | undefined
  readonly #asked: Asked[] = []
  readonly #effects: Effect[] = []
  readonly #cents = new Map<string, number>()
  readonly #ids = new Map<string, Set<string>>()
  readonly #places: readonly string[]
  readonly #meaningOf: (event: StreamRecord) => Meaning | undefined
  #reading: Promise<void> = Promise.resolve()

  /** @param places where each transfer must have an effect in the end. */
  constructor(address: string, places: readonly string[], meaningOf: (event: StreamRecord) => Meaning | undefined) {
    this.#address = address
    this.#places = places
    this.#meaningOf = meaningOf
  }

  /** An account begins with its opening money, and nobody writes that down. */
  setUp(accounts: number): Promise<void> {
    for (let index = 0; index < accounts; index++) this.#cents.set(`a${index}`, OPENING_CENTS)
    return Promise.resolve()
  }

  async progress(): Promise<Progress | undefined> {
    try {
      await this.#readOn()
    } catch {
      return undefined
    }
    return new Map([...this.#ids].map(([place, ids]) => [place, ids.size]))
  }

  async isComplete(): Promise<boolean> {
    try {
      await this.#readOn()
    } catch {
      return false
    }
    return this.#places.every((place) => this.#asked.every(({ id }) => this.#ids.get(place)?.has(id) === true))
  }

  async books(): Promise<Books> {
    await this.#readOn()
    return { asked: this.#asked, effects: this.#effects, cents: this.#cents }
  }

  async close(): Promise<void> {
    await this.#client?.dispose()
  }

  #readOn(): Promise<void> {
    this.#reading = this.#reading.catch(() => undefined).then(() => this.#toTheEnd())
    return this.#reading
  }

  async #toTheEnd(): Promise<void> {
    try {
      for (let isEnd = false; !isEnd; ) isEnd = await this.#page()
    } catch (error) {
      // A client whose server was killed may never be right again.
      const client = this.#client
      this.#client = undefined
      void client?.dispose().catch(() => undefined)
      throw error
    }
  }

  async #page(): Promise<boolean> {
    this.#client ??= EventStoreDBClient.connectionString(`${this.#address}?tls=false`)
    const events = this.#client.readAll({ direction: FORWARDS, fromPosition: this.#position ?? START, maxCount: PAGE, deadline: READ_MS })
    let count = 0
    for await (const { event } of events) {
      count++
      if (event === undefined || event.position.commit <= (this.#position?.commit ?? -1n)) continue
      this.#position = event.position
      this.#fold(event)
    }
    return count < PAGE
  }

  #fold(event: AllStreamRecordedEvent): void {
    const { streamId, type } = event
    const dash = streamId.indexOf('-')
    if (dash < 1 || streamId.startsWith('trunkline-') || streamId.startsWith('$')) return
    const meaning = this.#meaningOf({ category: streamId.slice(0, dash), name: streamId.slice(dash + 1), type, data: dataOf(event) })
    if (meaning === undefined) return
    if ('asked' in meaning) {
      this.#asked.push(meaning.asked)
      return
    }
    const { effect, account, cents = 0 } = meaning
    this.#effects.push(effect)
    const ids = this.#ids.get(effect.place) ?? new Set()
    this.#ids.set(effect.place, ids.add(effect.id))
    if (account !== undefined) this.#cents.set(account, (this.#cents.get(account) ?? OPENING_CENTS) + cents)
  }
}

/** Transfers between accounts. */
export function transferMeaning({ category, name, type, data }: StreamRecord): Meaning | undefined {
  if (category !== 'account' && category !== 'tally') return undefined
  const [id, n, cents] = [String(data['id']), Number(data['n']), Number(data['cents'])]
  if (type === 'torture.transfer-asked') return { asked: { id, from: name, to: String(data['to']), cents, n } }
  if (type === 'torture.money-moved') return { effect: { place: 'ledger', id, name, n }, account: name, cents }
  if (type === 'torture.money-received') return { effect: { place: 'audit', id, name: String(data['from']), n }, account: name, cents }
  return type === 'torture.tallied' ? { effect: { place: 'tally', id, name, n } } : undefined
}

/** The same as sagas: what their steps have done, and how they have ended. */
export function sagaMeaning({ category, name, type, data }: StreamRecord): Meaning | undefined {
  if (category === 'wish') return { asked: { id: String(data['id']), from: String(data['from']), to: String(data['to']), cents: Number(data['cents']), n: 1 } }
  if (category === 'account') return { effect: { place: String(data['place']), id: String(data['id']), name, n: 1 }, account: name, cents: Number(data['cents']) }
  return category === 'saga_transfer' && type === 'saga.ended' ? { effect: { place: 'ended', id: name, name: String(data['outcome']), n: 1 } } : undefined
}

/** Data that is JSON comes parsed, everything else as bytes. */
function dataOf({ data }: AllStreamRecordedEvent): Data {
  if (data instanceof Uint8Array) return JSON.parse(Buffer.from(data).toString())
  return data as Data
}
