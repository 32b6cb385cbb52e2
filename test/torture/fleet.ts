import { type ChildProcess, spawn } from 'node:child_process'
import { createWriteStream } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { killAtExit, spareAtExit } from '../servers/watchdog.ts'
import type { WorkerPlan } from './plan.ts'

const SCRIPT = fileURLToPath(new URL('worker.ts', import.meta.url))
const RESPAWN_MS = 250

/** Files of a member. */
export interface MemberFiles {
  readonly log: string
  readonly compiledDir: string
}

/** One place in the fleet: a process that is started again whenever it ends before it should. */
export class Member {
  readonly plan: WorkerPlan
  readonly #files: MemberFiles
  #child: ChildProcess | undefined
  #isStopping = false
  #exit: Promise<void> = Promise.resolve()
  /** Starts so far, and those that said they were ready. */
  starts = 0
  readies = 0
  isDone = false

  constructor(plan: WorkerPlan, files: MemberFiles) {
    this.plan = plan
    this.#files = files
  }

  get name(): string {
    return `${this.plan.role}-${this.plan.instance}`
  }

  start(): void {
    if (this.#isStopping) return
    const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', SCRIPT], {
      // A process begins often: what was compiled once is not compiled again.
      env: { ...process.env, TRUNKLINE_TORTURE: JSON.stringify(this.plan), NODE_COMPILE_CACHE: this.#files.compiledDir },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.#child = child
    this.starts++
    const { pid } = child
    if (pid !== undefined) killAtExit(pid)
    child.stderr.pipe(createWriteStream(this.#files.log, { flags: 'a' }))
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      if (text.includes('ready')) this.readies++
      if (text.includes('done')) this.isDone = true
    })
    this.#exit = new Promise((resolve) => {
      child.on('close', () => {
        if (pid !== undefined) spareAtExit(pid)
        this.#child = undefined
        resolve()
        if (!this.#isStopping) setTimeout(() => this.start(), RESPAWN_MS)
      })
    })
  }

  get isUp(): boolean {
    return this.#child !== undefined
  }

  kill(): void {
    this.#child?.kill('SIGKILL')
  }

  freeze(): void {
    this.#child?.kill('SIGSTOP')
  }

  thaw(): void {
    this.#child?.kill('SIGCONT')
  }

  async stop(): Promise<void> {
    this.#isStopping = true
    this.thaw()
    this.#child?.kill('SIGTERM')
    const late = setTimeout(() => this.#child?.kill('SIGKILL'), 15_000)
    await this.#exit
    clearTimeout(late)
  }
}
