import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { type Totals, invoiceTexts } from '../../examples/order-flow/generator.ts'

const rootDir = join(import.meta.dirname, '..', '..')
const program = join(rootDir, 'scripts', 'demo.mjs')
const realFile = join(rootDir, '..', 'shared', 'data', 'online-retail-2010-12.csv')

/** The file of real invoices; undefined where it is not beside the repository. */
export const sharedFile: string | undefined = existsSync(realFile) ? realFile : undefined
/** What it must come to on every transport. */
export const SHARED_SUMMARY = 'invoices 512, cancellations 43, gross 184248.33, cancelled -3580.58, deadLetters 0'

/** What the demo prints with `--json`. */
export interface DemoJson extends Totals {
  readonly deadLetters: number
  readonly transport: string
  readonly seconds: number
  readonly kills: number
  readonly serviceKills: number
  readonly brokerKills: number
  readonly orders: Readonly<Record<'placed' | 'started' | 'fulfilled' | 'cancelled' | 'compensated' | 'failed' | 'open' | 'unheard', number>>
  readonly books: { readonly movements: number; readonly pieces: number; readonly entries: number; readonly balance: string; readonly doubled: number }
  readonly retries: number
  readonly prices: { readonly answered: number; readonly byFallback: number; readonly failed: number }
  readonly sightings: { readonly joined: number; readonly suspect: number; readonly down: number; readonly stopped: number }
  readonly deadLetterList: readonly { readonly id: string; readonly group: string; readonly type: string; readonly reason: string }[]
  readonly answer?: { readonly entries: number; readonly balance: string }
  readonly isComplete: boolean
  readonly problem?: string
}

/** How a demo ended. */
export interface DemoEnd {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** A demo that runs in a temporary folder of its own. */
export class DemoRun {
  /** Where the demo makes its temporary folder. */
  readonly tempDir: string = mkdtempSync(join(tmpdir(), 'trunkline-demo-test-'))
  readonly child: ChildProcess
  readonly end: Promise<DemoEnd>

  constructor(args: readonly string[]) {
    // A PostgreSQL that is started as root runs under an account of its own, which has to get through.
    chmodSync(this.tempDir, 0o711)
    this.child = spawn(process.execPath, [program, ...args], { env: { ...process.env, TMPDIR: this.tempDir }, stdio: ['ignore', 'pipe', 'pipe'] })
    this.end = this.#collect()
  }

  async #collect(): Promise<DemoEnd> {
    let [stdout, stderr] = ['', '']
    this.child.stdout?.on('data', (chunk) => (stdout += String(chunk)))
    this.child.stderr?.on('data', (chunk) => (stderr += String(chunk)))
    const [code] = await once(this.child, 'close')
    return { code, stdout, stderr }
  }

  /** The demo's folder, once it is there. */
  get dir(): string | undefined {
    const name = readdirSync(this.tempDir).find((entry) => entry.startsWith('trunkline-demo-'))
    return name === undefined ? undefined : join(this.tempDir, name)
  }

  /** What the demo left in its temporary folder. */
  get leftBehind(): readonly string[] {
    return readdirSync(this.tempDir)
  }

  /** A number that a service has written in its file, or undefined while it has not. */
  fact(service: string, name: string): number | undefined {
    return this.#number(service, `SELECT value AS n FROM facts WHERE name = '${name}'`)
  }

  /** Messages that the shop has committed. */
  get published(): number {
    return this.#number('shop', 'SELECT count(*) AS n FROM published') ?? 0
  }

  /** Writes into a service's file past the service; false where it could not yet. */
  plant(service: string, sql: string): boolean {
    if (this.dir === undefined) return false
    try {
      using file = new ClosedByScope(new DatabaseSync(join(this.dir, `${service}.db`), { timeout: 5_000 }))
      return file.database.prepare(sql).run().changes === 1
    } catch {
      // Its tables are not there yet.
      return false
    }
  }

  #number(service: string, sql: string): number | undefined {
    if (this.dir === undefined) return undefined
    try {
      using file = new ClosedByScope(new DatabaseSync(join(this.dir, `${service}.db`), { readOnly: true }))
      const row = file.database.prepare(sql).get()
      return row === undefined ? undefined : Number(row['n'])
    } catch {
      // Not there yet, or written at this moment.
      return undefined
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.child.kill('SIGTERM')
    await this.end
    rmSync(this.tempDir, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 })
  }
}

class ClosedByScope implements Disposable {
  readonly database: DatabaseSync

  constructor(database: DatabaseSync) {
    this.database = database
  }

  [Symbol.dispose](): void {
    this.database.close()
  }
}

/** Runs a demo to its end. */
export async function demo(...args: readonly string[]): Promise<DemoEnd> {
  await using run = new DemoRun(args)
  return await run.end
}

/** Runs a demo with `--json` to its end, and fails with its output unless it ends with `code`. */
export async function demoJson(args: readonly string[], code = 0): Promise<DemoJson> {
  const end = await demo(...args, '--json')
  if (end.code !== code) throw new Error(`the demo ended with ${end.code}:\n${end.stdout}\n${end.stderr}`)
  const result: DemoJson = JSON.parse(end.stdout)
  return result
}

/** What a generated file must come to, from the generator's own arithmetic. */
export function totalsOf(seed: number, invoices: number): Totals {
  const texts = invoiceTexts(seed, invoices)
  for (;;) {
    const { done, value } = texts.next()
    if (done === true) return value
  }
}

/** The four figures of a summary. */
export function figuresOf({ invoices, cancellations, gross, cancelled }: Totals): Totals {
  return { invoices, cancellations, gross, cancelled }
}

/** True while a process runs. */
export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
