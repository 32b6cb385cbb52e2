import { closeSync, openSync, writeSync } from 'node:fs'
import { fieldText } from './csv.ts'
import { COLUMNS } from './invoices.ts'

// Invoices that look like a real shop's, untidiness included, and what they must add up to. The totals are
// computed here in thousandths, without the code that the services use.

/** What the services must find in a generated file. */
export interface Totals {
  readonly invoices: number
  readonly cancellations: number
  readonly gross: string
  readonly cancelled: string
}

const COUNTRIES = ['United Kingdom', 'France', 'Germany', 'EIRE', 'Norway', 'Unspecified'] as const
const COLOURS = ['RED', 'BLUE', 'CREAM', 'PINK', 'IVORY'] as const
const THINGS = ['LANTERN', 'CAKE STAND', 'UMBRELLA', 'TEA TOWEL', 'PHOTO FRAME', 'BUNTING', 'DOORMAT'] as const
const ARTICLES = 400
const START_MS = Date.UTC(2010, 11, 1, 8)

/**
 * The text of a file with so many invoices, piece by piece, and in the end what they add up to. The same seed
 * gives the same text.
 */
export function* invoiceTexts(seed: number, invoices: number): Generator<string, Totals> {
  const random = new SeededNumbers(seed)
  let [gross, cancelled, cancellations] = [0n, 0n, 0]
  yield `${COLUMNS.join(',')}\n`
  for (let at = 0; at < invoices; at++) {
    const { text, mills, isCancelled } = invoiceText(random, at)
    yield text
    if (isCancelled) {
      cancelled += mills
      cancellations++
    } else gross += mills
  }
  return { invoices, cancellations, gross: millsText(gross), cancelled: millsText(cancelled) }
}

/** Writes a new file of invoices and tells what they add up to. */
export function writeInvoices(path: string, seed: number, invoices: number): Totals {
  const texts = invoiceTexts(seed, invoices)
  const file = openSync(path, 'wx')
  try {
    for (;;) {
      const { done, value } = texts.next()
      if (done === true) return value
      writeSync(file, value)
    }
  } finally {
    closeSync(file)
  }
}

function invoiceText(random: SeededNumbers, at: number): { readonly text: string; readonly mills: bigint; readonly isCancelled: boolean } {
  const isCancelled = random.chance(0.08)
  const isAdjustment = !isCancelled && random.chance(0.005)
  const invoiceNo = `${isCancelled ? 'C' : isAdjustment ? 'A' : ''}${536_365 + at}`
  const customer = random.chance(0.2) ? '' : String(12_300 + random.below(300))
  const time = `${new Date(START_MS + at * 97_000).toISOString().slice(0, 19)}Z`
  const country = random.pick(COUNTRIES)
  // Now and then a wholesaler, whose invoice is larger than one message may be.
  const lines = isAdjustment ? 1 : random.chance(0.004) ? 300 + random.below(300) : 1 + random.below(isCancelled ? 4 : 30)
  let text = ''
  let mills = 0n
  for (let line = 0; line < lines; line++) {
    const article = articleOf(random, isCancelled, isAdjustment)
    mills += BigInt(article.mills) * BigInt(article.quantity)
    const fields = [invoiceNo, article.code, article.description, String(article.quantity), time, priceText(article.mills), customer, country]
    text += `${fields.map(fieldText).join(',')}\n`
  }
  return { text, mills, isCancelled }
}

interface Article {
  readonly code: string
  readonly description: string
  readonly quantity: number
  /** Price of one piece in thousandths. */
  readonly mills: number
}

function articleOf(random: SeededNumbers, isCancelled: boolean, isAdjustment: boolean): Article {
  if (isAdjustment) return { code: 'B', description: 'Adjust bad debt', quantity: 1, mills: -10 * random.below(100_000) }
  const number = random.below(ARTICLES)
  const code = `${84_000 + number}${number % 5 === 0 ? 'B' : ''}`
  const pieces = 1 + random.below(24)
  if (!isCancelled && random.chance(0.005)) return { code, description: '', quantity: -pieces, mills: 0 }
  const name = `${COLOURS[number % COLOURS.length]} ${THINGS[number % THINGS.length]}`
  const description = number % 11 === 0 ? `${name}, 12" "DELUXE"` : number % 13 === 0 ? '' : name
  // One article in forty is sold by weight, with a price that needs three decimals.
  const mills = number % 40 === 0 ? 1 + random.below(2_000) : 10 * random.below(1_500)
  return { code, description, quantity: isCancelled ? -pieces : pieces, mills }
}

/** The shortest text of a number of thousandths, as the real file has it: `2.55`, `3`, `0.125`. */
function priceText(mills: number): string {
  const units = Math.abs(mills)
  const decimals = String(units % 1_000).padStart(3, '0').replace(/0+$/, '')
  return `${mills < 0 ? '-' : ''}${Math.trunc(units / 1_000)}${decimals === '' ? '' : `.${decimals}`}`
}

function millsText(mills: bigint): string {
  const units = mills < 0n ? -mills : mills
  const decimals = String(units % 1_000n).padStart(3, '0')
  return `${mills < 0n ? '-' : ''}${units / 1_000n}.${decimals.endsWith('0') ? decimals.slice(0, 2) : decimals}`
}

/** Numbers that a seed determines: Marsaglia's xorshift with a Weyl sequence, plenty for test data. */
class SeededNumbers {
  #state: number
  #weyl = 0

  constructor(seed: number) {
    this.#state = (Math.trunc(seed) ^ 0x9e37_79b9) | 1
    for (let round = 0; round < 8; round++) this.#next()
  }

  #next(): number {
    let x = this.#state
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    this.#state = x
    this.#weyl = (this.#weyl + 362_437) | 0
    return (x + this.#weyl) >>> 0
  }

  below(limit: number): number {
    return Math.floor((this.#next() / 2 ** 32) * limit)
  }

  chance(probability: number): boolean {
    return this.#next() / 2 ** 32 < probability
  }

  pick<T>(choices: readonly [T, ...T[]]): T {
    return choices[this.below(choices.length)] ?? choices[0]
  }
}
