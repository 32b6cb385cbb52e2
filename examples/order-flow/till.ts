import { createReadStream } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { type Bus, type CallPolicy, circuitBreaker, compose, fallback } from 'trunkline'
import type { DirectoryEvent } from 'trunkline/discovery'
import type { Sqlite, SqliteHandle } from 'trunkline/sqlite'
import { QuotePrice } from './contracts.ts'
import { fileItems } from './invoices.ts'
import { addToFact } from './service-tables.ts'
import { type OpenService, type RunningService, type ServiceSetup, openService, startService } from './service.ts'

// What it sees of the others: `kind` is that of the directory's event, `look` where a process begins to look, or `failed` for a price.
const TABLES = `
  CREATE TABLE IF NOT EXISTS sightings (n INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, who TEXT NOT NULL, reason TEXT NOT NULL);
`

const PAUSE_MS = 100
const ANSWER_MS_MAX = 400
/** Articles of the file that customers ask for. */
const ARTICLES = 20

type Write = (tx: SqliteHandle) => unknown

interface Article {
  readonly stockCode: string
  /** What the shop would say if nobody else knew. */
  readonly listPrice: string
}

/** Starts the till, beside the services that do the work. */
export async function startTill(setup: ServiceSetup): Promise<RunningService> {
  const service = await openService('till', setup, TABLES)
  const till = new Till(service, setup)
  const running = await startService(service, setup)
  till.open()
  return {
    async stop() {
      await till.close()
      await running.stop()
    },
  }
}

/**
 * A till in the shop: customers want to know prices, whatever has just been killed. Each question goes to an instance of stock that the directory
 * knows to be up, to another one where that does not answer, and the list price stands in where nobody does.
 */
class Till {
  readonly #bus: Bus
  readonly #store: Sqlite
  readonly #closing = new AbortController()
  /** After some failures in a row it asks nobody for a moment: customers do not wait for what is known to be away. */
  readonly #breaker: CallPolicy = circuitBreaker({ trip: { consecutive: 3 }, openMs: 500, openMaxMs: 500 })
  readonly #file: string
  readonly #unwatch: () => void
  #work: Promise<void> = Promise.resolve()
  /** One after the other: what is written later happened later. */
  #writing: Promise<unknown> | undefined
  readonly #unwritten: Write[] = []

  constructor({ bus, store, directory }: OpenService, setup: ServiceSetup) {
    this.#bus = bus
    this.#store = store
    this.#file = setup.input ?? ''
    // With the first thing that is seen: before that the store is not open.
    this.#unwritten.push((tx) => tx.prepare(`INSERT INTO sightings (kind, who, reason) VALUES ('look', '', '')`).run())
    this.#unwatch = directory.watch(this.#saw)
  }

  open(): void {
    // A file that cannot be read is the shop's to tell.
    this.#work = this.#serve().catch(() => undefined)
  }

  readonly #saw = (event: DirectoryEvent): void => {
    if ('instance' in event && 'reason' in event && event.kind !== 'instance-changed') this.#note(event.kind, event.instance.instance, event.reason)
  }

  #note(kind: string, who: string, reason: string): void {
    this.#write((tx) => tx.prepare('INSERT INTO sightings (kind, who, reason) VALUES (?, ?, ?)').run(kind, who, reason))
  }

  #write(work: Write): void {
    this.#unwritten.push(work)
    this.#writing ??= this.#writeAll().finally(() => (this.#writing = undefined))
  }

  async #writeAll(): Promise<void> {
    while (this.#unwritten.length > 0) {
      const works = this.#unwritten.splice(0)
      // What is not written down is only missed in the summary.
      await this.#store.transaction(({ tx }) => works.forEach((work) => work(tx))).catch(() => undefined)
    }
  }

  async #serve(): Promise<void> {
    const articles = await articlesOf(this.#file)
    const { signal } = this.#closing
    for (let at = 0; articles.length > 0; at++) {
      const article = articles[at % articles.length]
      if (article !== undefined) await this.#sell(article)
      await this.#writing
      await delay(PAUSE_MS, undefined, { signal })
    }
  }

  async #sell({ stockCode, listPrice }: Article): Promise<void> {
    const { signal } = this.#closing
    const policy = compose(fallback({ value: { unitPrice: listPrice, isListPrice: true } }), this.#breaker)
    try {
      const { isListPrice } = await this.#bus.ask(QuotePrice, { stockCode }, { balance: 'least-pending', timeoutMs: ANSWER_MS_MAX, policy, signal })
      this.#write((tx) => addToFact(tx, isListPrice ? 'prices-by-fallback' : 'prices-answered', 1))
    } catch (error) {
      if (signal.aborted) return
      this.#write((tx) => addToFact(tx, 'prices-failed', 1))
      this.#note('failed', stockCode, error instanceof Error ? error.message : String(error))
    }
  }

  async close(): Promise<void> {
    this.#closing.abort()
    this.#unwatch()
    await this.#work
    await this.#writing
  }
}

async function articlesOf(file: string): Promise<readonly Article[]> {
  const articles = new Map<string, Article>()
  for await (const item of fileItems(() => createReadStream(file), 1)) {
    const lines = item.kind === 'invoice' ? item.invoice.lines : []
    for (const { stockCode, unitPrice } of lines) if (!articles.has(stockCode)) articles.set(stockCode, { stockCode, listPrice: unitPrice })
    if (articles.size >= ARTICLES) break
  }
  return [...articles.values()].slice(0, ARTICLES)
}
