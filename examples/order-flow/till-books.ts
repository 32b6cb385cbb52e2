import { ReadableFile } from './readable-file.ts'

/** How the questions for a price ended. */
export interface Prices {
  /** By an instance of stock. */
  readonly answered: number
  /** By the list price that stands in where no instance answers. */
  readonly byFallback: number
  readonly failed: number
}

/** Something that the till saw of an instance. */
export interface Sighting {
  readonly n: number
  readonly kind: string
  readonly who: string
  readonly reason: string
}

/** What the till saw of the others, in numbers. */
export interface Sightings {
  readonly joined: number
  readonly suspect: number
  readonly down: number
  readonly stopped: number
}

/** What people read for each kind; others are not told. */
const WORDS: ReadonlyMap<string, string> = new Map([
  ['instance-up', 'is there'], ['instance-suspect', 'is suspect'], ['instance-held', 'is back from the dead, and held'],
  ['instance-down', 'is gone'], ['instance-draining', 'is leaving'], ['instance-stopped', 'has left'],
])

/** How the questions for a price have ended so far. */
export function readPrices(dir: string): Prices {
  using till = new ReadableFile(dir, 'till')
  return { answered: till.fact('prices-answered') ?? 0, byFallback: till.fact('prices-by-fallback') ?? 0, failed: till.fact('prices-failed') ?? 0 }
}

/** Why a question for a price failed, or undefined. */
export function priceFailure(dir: string): string | undefined {
  using till = new ReadableFile(dir, 'till')
  const reason = till.rows(`SELECT reason FROM sightings WHERE kind = 'failed' LIMIT 1`)[0]?.['reason']
  return typeof reason === 'string' ? reason : undefined
}

/** What was seen after the sighting `after`. */
export function sightingsAfter(dir: string, after: number): readonly Sighting[] {
  using till = new ReadableFile(dir, 'till')
  return till.rows('SELECT n, kind, who, reason FROM sightings WHERE n > ? ORDER BY n', `${after}`)
    .map((row) => ({ n: Number(row['n']), kind: String(row['kind']), who: String(row['who']), reason: String(row['reason']) }))
}

/** Counts what was seen. */
export function readSightings(dir: string): Sightings {
  using till = new ReadableFile(dir, 'till')
  const count = (kind: string): number => till.count(`SELECT count(*) AS n FROM sightings WHERE kind = '${kind}'`)
  return { joined: count('instance-up'), suspect: count('instance-suspect'), down: count('instance-down'), stopped: count('instance-stopped') }
}

/** Who is there as the till sees it, folded from what it saw. */
export class View {
  readonly #states = new Map<string, string>()

  /** @returns what to tell, or undefined. */
  see({ kind, who }: Sighting): string | undefined {
    // A till that was started again looks with new eyes.
    if (kind === 'look') this.#states.clear()
    const word = WORDS.get(kind)
    if (word === undefined) return undefined
    this.#states.set(who, kind)
    return `${who} ${word}`
  }

  /** `6 up, 1 suspect`. */
  get text(): string {
    const count = (kind: string): number => [...this.#states.values()].filter((state) => state === kind).length
    const suspect = count('instance-suspect')
    return `${count('instance-up')} up${suspect === 0 ? '' : `, ${suspect} suspect`}`
  }
}
