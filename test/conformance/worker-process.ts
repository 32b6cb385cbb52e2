import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { WorkerLine, WorkerProcess, WorkerSettings } from '../../src/testing/index.ts'
import type { TransportSpec } from './transport-spec.ts'

const SCRIPT = fileURLToPath(new URL('fixtures/worker.ts', import.meta.url))

/** Starts a worker as a child process in the place of `spec`. */
export function spawnWorker(spec: TransportSpec, settings: WorkerSettings): WorkerProcess {
  return new ChildWorker(spec, settings)
}

class ChildWorker implements WorkerProcess {
  readonly lines: WorkerLine[] = []
  readonly #child: ChildProcess
  readonly #ended: Promise<unknown>
  #rest = ''
  #isOver = false

  constructor(spec: TransportSpec, settings: WorkerSettings) {
    const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', SCRIPT], {
      env: { ...process.env, TRUNKLINE_WORKER: JSON.stringify({ spec, settings }) },
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    this.#child = child
    child.stdin.on('error', () => undefined)
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => this.#read(chunk))
    // `close` comes when everything that it said has been read.
    this.#ended = once(child, 'close').then(() => {
      this.#isOver = true
    })
  }

  get isAlive(): boolean {
    return !this.#isOver
  }

  async kill(): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.#ended
  }

  #read(chunk: string): void {
    const parts = (this.#rest + chunk).split('\n')
    this.#rest = parts.pop() ?? ''
    for (const part of parts) this.lines.push(JSON.parse(part))
  }
}
