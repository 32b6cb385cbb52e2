import { createReadStream, existsSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { type Unit, reject } from 'trunkline'
import type { Sqlite, SqliteHandle } from 'trunkline/sqlite'
import { InvoiceCancelled, InvoiceRecorded, RecordLine } from './contracts.ts'
import { type Chunks, fieldsOf } from './csv.ts'
import { type FileItem, type Invoice, fileItems, isCancellation, readLine } from './invoices.ts'
import { amountOf, amountText, priceOf } from './money.ts'
import { type CallOff, type CallOffs, PLACED_TABLES, callOffsOf, placeOrder } from './placing.ts'
import { factOf, setFact } from './service-tables.ts'
import { type RunningService, type ServiceSetup, isOfRun, openService, startService } from './service.ts'

/** Items of the file that share one transaction. */
const WINDOW = 64
/** Messages that may wait in the outbox before the shop reads on. */
const WAITING_MAX = 1_000
const LOOK_MS = 50
/** Longest text of a broken line that travels with its command. */
const TEXT_MAX = 4_000

// What left the shop; the summary compares what the others made of it.
const TABLES = `
  CREATE TABLE IF NOT EXISTS published (line INTEGER PRIMARY KEY, kind TEXT NOT NULL, message_id TEXT NOT NULL, pieces INTEGER NOT NULL, amount TEXT NOT NULL);
`

/**
 * Reads the file and publishes what is in it. Its place in the file and the messages up to there are one transaction: a shop
 * that died goes on where it was, and nothing is published twice or forgotten.
 */
export async function startShop(setup: ServiceSetup): Promise<RunningService> {
  const service = await openService('shop', setup, TABLES + PLACED_TABLES)
  const { bus, store } = service
  bus.handle(RecordLine, { within: store }, async (message, { tx, publish, schedule }) => {
    if (!isOfRun(setup, message)) return
    const { line, text, isCut, problem } = message.data
    const fields = isCut ? undefined : fieldsOf(text)
    const read = fields === undefined ? problem : readLine(fields)
    // No attempt can succeed before somebody changes this program, so it becomes a dead letter at once.
    if (typeof read === 'string') throw reject(new Error(`line ${line}: ${problem}`))
    const { article, ...head } = read
    tx.prepare('DELETE FROM published WHERE line = ?').run(line)
    await publishInvoice({ tx, publish, schedule }, setup.run, line, { ...head, lines: [article] }, undefined)
  })
  const running = await startService(service, setup)
  const closing = new AbortController()
  const work = publishFile(store, setup, closing.signal)
  work.catch((error: unknown) => {
    if (!closing.signal.aborted) setup.failed(error)
  })
  return {
    async stop() {
      closing.abort()
      await work.catch(() => {})
      await running.stop()
    },
  }
}

async function publishFile(store: Sqlite, setup: ServiceSetup, signal: AbortSignal): Promise<void> {
  const { input, door, invoicesPerSecond: perSecond } = setup
  if (input === undefined) throw new Error('the shop needs a file')
  while (door !== undefined && !existsSync(door)) await delay(LOOK_MS, undefined, { signal })
  const { fromLine, isFinished } = await store.transaction(({ tx }) => {
    const place = factOf(tx, 'next-line') ?? 1
    setFact(tx, 'began-at-line', place)
    return { fromLine: place, isFinished: factOf(tx, 'finished') === 1 }
  })
  if (isFinished) return
  const open = (): Chunks => createReadStream(input)
  const callOffs = await callOffsOf(open)
  const window = perSecond === undefined ? WINDOW : Math.min(WINDOW, Math.max(1, Math.floor(perSecond / 4)))
  let items: FileItem[] = []
  for await (const item of fileItems(open, fromLine)) {
    items.push(item)
    if (items.length < window) continue
    await publishItems(store, setup.run, items, callOffs, false)
    if (perSecond !== undefined) await delay((1_000 * items.length) / perSecond, undefined, { signal })
    while ((await store.outbox.stats()).waiting > WAITING_MAX) await delay(LOOK_MS, undefined, { signal })
    signal.throwIfAborted()
    items = []
  }
  await publishItems(store, setup.run, items, callOffs, true)
}

async function publishItems(store: Sqlite, run: string, items: readonly FileItem[], callOffs: CallOffs, isLast: boolean): Promise<void> {
  await store.transaction(async (unit) => {
    for (const item of items) await publishItem(unit, run, item, callOffs)
    const last = items.at(-1)
    if (last !== undefined) setFact(unit.tx, 'next-line', last.resumeLine)
    if (isLast) setFact(unit.tx, 'finished', 1)
  })
}

type Publishing = Pick<Unit<SqliteHandle>, 'tx' | 'publish' | 'schedule'>

async function publishItem(unit: Unit<SqliteHandle>, run: string, item: FileItem, callOffs: CallOffs): Promise<void> {
  // A broken line inside an invoice comes before it: who goes on at the invoice's first line meets it again.
  if (unit.tx.prepare('SELECT 1 FROM published WHERE line = ?').get(item.line) !== undefined) return
  if (item.kind === 'invoice') {
    await publishInvoice(unit, run, item.line, item.invoice, callOffs.get(item.line))
    return
  }
  const id = `${run}.line.${item.line}`
  unit.tx.prepare(`INSERT INTO published VALUES (?, 'refused', ?, 0, '0')`).run(item.line, id)
  unit.send(RecordLine, { line: item.line, text: item.text.slice(0, TEXT_MAX), isCut: item.text.length > TEXT_MAX, problem: item.problem }, { id })
}

async function publishInvoice(unit: Publishing, run: string, line: number, invoice: Invoice, callOff: CallOff | undefined): Promise<void> {
  const { tx, publish } = unit
  const id = `${run}.invoice.${line}`
  let [pieces, amount] = [0, 0n]
  for (const { quantity, unitPrice } of invoice.lines) {
    pieces += quantity
    amount += priceOf(amountOf(unitPrice), quantity)
  }
  tx.prepare(`INSERT INTO published VALUES (?, 'invoice', ?, ?, ?)`).run(line, id, pieces, amountText(amount))
  publish(isCancellation(invoice.invoiceNo) ? InvoiceCancelled : InvoiceRecorded, { ...invoice, lines: [...invoice.lines] }, { id })
  await placeOrder(unit, run, line, invoice, callOff)
}
