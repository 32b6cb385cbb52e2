import { createReadStream } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { type Bus, isTrunklineError, reject } from 'trunkline'
import { InvoiceCancelled, InvoiceRecorded, RecordLine } from './contracts.ts'
import { fieldsOf } from './csv.ts'
import { type FileItem, fileItems, isCancellation, readLine } from './invoices.ts'
import type { ServiceFile } from './service-file.ts'
import { type RunningService, type ServiceSetup, isOfRun, openService, startService } from './service.ts'

/** Messages that are on their way to the broker at the same time. */
const WINDOW = 64
const PUBLISH_TRIES = 10
/** Longest text of a broken line that travels with its command. */
const TEXT_MAX = 4_000

const TABLES = `
  CREATE TABLE IF NOT EXISTS published (line INTEGER PRIMARY KEY, kind TEXT NOT NULL);
`

/**
 * Reads the file and publishes what is in it. Where it stands is recorded after the broker has confirmed, so a
 * shop that died publishes its last messages again, under the same ids, and loses none.
 */
export async function startShop(setup: ServiceSetup): Promise<RunningService> {
  const { bus, file } = await openService('shop', setup, TABLES)
  bus.handle(RecordLine, async (message) => {
    if (!isOfRun(setup, message)) return
    const { line, text, isCut, problem } = message.data
    const fields = isCut ? undefined : fieldsOf(text)
    const read = fields === undefined ? problem : readLine(fields)
    // No attempt can succeed before somebody changes this program, so it becomes a dead letter at once.
    if (typeof read === 'string') throw reject(new Error(`line ${line}: ${problem}`))
    const { article, ...head } = read
    await publishItem(bus, setup.run, { kind: 'invoice', line, resumeLine: line, invoice: { ...head, lines: [article] } })
  })
  const running = await startService(bus, file, setup)
  const closing = new AbortController()
  const work = publishFile(bus, file, setup, closing.signal)
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

async function publishFile(bus: Bus, file: ServiceFile, setup: ServiceSetup, signal: AbortSignal): Promise<void> {
  const { input } = setup
  if (input === undefined) throw new Error('the shop needs a file')
  if (file.fact('finished') === 1) return
  const perSecond = setup.invoicesPerSecond
  const window = perSecond === undefined ? WINDOW : Math.min(WINDOW, Math.max(1, Math.floor(perSecond / 4)))
  const fromLine = file.fact('next-line') ?? 1
  await file.setFact('began-at-line', fromLine)
  let items: FileItem[] = []
  for await (const item of fileItems(() => createReadStream(input), fromLine)) {
    items.push(item)
    if (items.length < window) continue
    await publishItems(bus, file, setup.run, items)
    if (perSecond !== undefined) await delay((1_000 * items.length) / perSecond, undefined, { signal })
    signal.throwIfAborted()
    items = []
  }
  await publishItems(bus, file, setup.run, items)
  await file.setFact('finished', 1)
}

async function publishItems(bus: Bus, file: ServiceFile, run: string, items: readonly FileItem[]): Promise<void> {
  await Promise.all(items.map((item) => publishItem(bus, run, item)))
  await file.transaction(() => {
    const insert = file.database.prepare('INSERT OR IGNORE INTO published (line, kind) VALUES (?, ?)')
    for (const { line, kind } of items) insert.run(line, kind)
    const last = items.at(-1)
    if (last !== undefined) file.writeFact('next-line', last.resumeLine)
  })
}

/** Publishes until the broker has confirmed. The id comes from the place in the file, so a second try is the same message. */
async function publishItem(bus: Bus, run: string, item: FileItem): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      if (item.kind === 'refused') {
        const data = { line: item.line, text: item.text.slice(0, TEXT_MAX), isCut: item.text.length > TEXT_MAX, problem: item.problem }
        return await bus.send(RecordLine, data, { id: `${run}.line.${item.line}` })
      }
      const { invoice } = item
      const contract = isCancellation(invoice.invoiceNo) ? InvoiceCancelled : InvoiceRecorded
      return await bus.publish(contract, { ...invoice, lines: [...invoice.lines] }, { id: `${run}.invoice.${item.line}` })
    } catch (error) {
      const isWorthAnother = isTrunklineError(error) && error.disposition === 'retry' && error.code !== 'bus.not_running'
      if (!isWorthAnother || attempt === PUBLISH_TRIES) throw error
      await delay(100 * attempt)
    }
  }
}
