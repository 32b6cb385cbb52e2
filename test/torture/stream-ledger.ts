import { type AllStreamRecordedEvent, EventStoreDBClient, FORWARDS, START, type Position } from '@eventstore/db-client'
import type { Ledger, Progress } from './ledger.ts'
import { OPENING_CENTS } from './plan.ts'
import { type Asked, type Books, type Effect, PLACES, type Place } from './reckoning.ts'

const PAGE = 2_000
const READ_MS = 10_000

type Data = Readonly<Record<string, unknown>>

/** Accounts as streams: everything is folded from the log, in the order of the log. */
export class StreamLedger implements Ledger {
  readonly #address: string
  #client: EventStoreDBClient | undefined
  #position: Position | undefined
  readonly #asked: Asked[] = []
  readonly #effects: Effect[] = []
  readonly #cents = new Map<string, number>()
  readonly #ids: Readonly<Record<Place, Set<string>>> = { ledger: new Set(), audit: new Set(), tally: new Set() }
  #reading: Promise<void> = Promise.resolve()

  constructor(address: string) {
    this.#address = address
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
    return new Map(PLACES.map((place) => [place, this.#ids[place].size]))
  }

  async isComplete(): Promise<boolean> {
    try {
      await this.#readOn()
    } catch {
      return false
    }
    return PLACES.every((place) => this.#asked.every(({ id }) => this.#ids[place].has(id)))
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
    const [category, name] = [streamId.slice(0, dash), streamId.slice(dash + 1)]
    if (category !== 'account' && category !== 'tally') return
    const data = dataOf(event)
    const [id, n, cents] = [String(data['id']), Number(data['n']), Number(data['cents'])]
    if (type === 'torture.transfer-asked') this.#asked.push({ id, from: name, to: String(data['to']), cents, n })
    if (type === 'torture.money-moved') this.#done({ place: 'ledger', id, name, n }, name, cents)
    if (type === 'torture.money-received') this.#done({ place: 'audit', id, name: String(data['from']), n }, name, cents)
    if (type === 'torture.tallied') this.#done({ place: 'tally', id, name, n }, name, 0)
  }

  #done(effect: Effect & { readonly place: Place }, account: string, cents: number): void {
    this.#effects.push(effect)
    this.#ids[effect.place].add(effect.id)
    this.#cents.set(account, (this.#cents.get(account) ?? OPENING_CENTS) + cents)
  }
}

/** Data that is JSON comes parsed, everything else as bytes. */
function dataOf({ data }: AllStreamRecordedEvent): Data {
  if (data instanceof Uint8Array) return JSON.parse(Buffer.from(data).toString())
  return data as Data
}
