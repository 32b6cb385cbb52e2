import { type ChildProcess, spawn } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

const LIMIT_MS = 30_000

/** A program in another language, and the lines that it prints. */
export class Peer {
  readonly #child: ChildProcess
  readonly #lines: AsyncIterator<string>
  #errors = ''

  constructor(script: string, args: readonly string[]) {
    // Its own time limit: whatever happens here, it ends.
    this.#child = spawn('python3', ['-B', join(import.meta.dirname, 'fixtures', script), ...args], { stdio: ['ignore', 'pipe', 'pipe'], timeout: LIMIT_MS })
    this.#child.stderr?.on('data', (chunk: Buffer) => {
      this.#errors += chunk.toString()
    })
    const { stdout } = this.#child
    if (stdout === null) throw new TypeError('the output of the program is piped')
    this.#lines = createInterface({ input: stdout })[Symbol.asyncIterator]()
  }

  /** The next line that it prints. */
  async line(): Promise<string> {
    const next = await this.#lines.next()
    if (next.done === true) throw new TypeError(`the program ended: ${this.#errors}`)
    return next.value
  }

  /** The next line as JSON. */
  async json(): Promise<unknown> {
    return JSON.parse(await this.line())
  }

  /** Ends it, if it has not ended by itself. */
  close(): void {
    this.#child.kill('SIGKILL')
  }
}
