import type { Books } from './books.ts'
import type { Totals } from './generator.ts'
import type { Figures, Progress } from './figures.ts'
import type { Orders } from './order-books.ts'
import type { Prices, Sightings } from './till-books.ts'
import type { TransportName } from './transports.ts'

/** A message that was given up, as people need it. */
export interface LostMessage {
  readonly id: string
  readonly group: string
  readonly type: string
  readonly reason: string
}

/** What came of a run. */
export interface DemoResult {
  readonly figures: Figures
  readonly orders: Orders
  readonly books: Books
  readonly progress: Progress
  readonly prices: Prices
  /** What the till saw of the instances, from its directory. */
  readonly sightings: Sightings
  readonly deadLetters: readonly LostMessage[]
  /** What billing answered when it was asked for its balance; undefined where it did not. */
  readonly answer: { readonly entries: number; readonly balance: string } | undefined
  readonly transport: TransportName
  readonly seconds: number
  /** Service processes that were killed one by one. */
  readonly serviceKills: number
  /** Deaths of what carries the messages; with a file as the broker, of all processes that use it. */
  readonly brokerKills: number
  /** What generated invoices must come to; undefined for a file. */
  readonly expected: Totals | undefined
  /** Why the run is no success, or undefined. */
  readonly problem: string | undefined
}

/** The summary for people. Its first line is the same for every transport. */
export function summaryText(result: DemoResult): string {
  const { figures, orders, books, progress, prices, sightings, deadLetters, answer, expected, serviceKills, brokerKills } = result
  const lines = [
    `invoices ${figures.invoices}, cancellations ${figures.cancellations}, gross ${figures.gross}, cancelled ${figures.cancelled}, deadLetters ${deadLetters.length}`,
    ...deadLetters.map(({ reason, group, type }) => `  dead letter of ${group} (${type}): ${reason}`),
  ]
  if (answer !== undefined) lines.push(`billing, asked over request/reply: balance ${answer.balance} in ${answer.entries} entries`)
  lines.push(`orders: started ${orders.started}, fulfilled ${orders.fulfilled}, cancelled ${orders.cancelled}, compensated ${orders.compensated}, failed ${orders.failed}`)
  lines.push(`prices: ${prices.answered} answered by stock, ${prices.byFallback} by the fallback, ${prices.failed} failed; the till saw instances: ${sightings.joined} come, ${sightings.suspect} suspect, ${sightings.down} gone`)
  lines.push(`inventory: ${books.pieces} pieces in ${books.movements} movements; ledger: ${books.balance} in ${books.entries} entries; effects that are there twice: ${books.doubled}`)
  if (expected !== undefined) {
    lines.push(`the generated invoices come to: invoices ${expected.invoices}, cancellations ${expected.cancellations}, gross ${expected.gross}, cancelled ${expected.cancelled}`)
  }
  lines.push(`${result.transport}, ${result.seconds} s, ${progress.published} events, retries ${progress.retries}, kills ${serviceKills + brokerKills} (services ${serviceKills}, broker ${brokerKills})`)
  if (result.problem !== undefined) lines.push(`NOT COMPLETE: ${result.problem}`)
  return `${lines.join('\n')}\n`
}

/** The summary for programs: one line. */
export function summaryJson(result: DemoResult): string {
  const { figures, orders, books, progress, prices, sightings, deadLetters, transport, seconds, serviceKills, brokerKills, answer, expected, problem } = result
  const { invoices, cancellations, gross, cancelled } = figures
  const counts = { invoices, cancellations, gross, cancelled, deadLetters: deadLetters.length, transport, seconds, kills: serviceKills + brokerKills, serviceKills, brokerKills }
  const { mistakes: _mistakes, ...sums } = books
  const more = { retries: progress.retries, published: progress.published, orders, prices, sightings, books: sums, answer, expected, deadLetterList: deadLetters, isComplete: problem === undefined, problem }
  return `${JSON.stringify({ ...counts, ...more })}\n`
}
