import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, openSync, closeSync, readFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { delimiter, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Guard } from './guard.ts'

const START_MS_MAX = 60_000
const STOP_MS_MAX = 10_000

/** How a program of the machine is run. */
export interface ProgramPlan {
  readonly name: string
  readonly command: string
  readonly args: readonly string[]
  /** Where it runs and logs. */
  readonly dir: string
  readonly env: NodeJS.ProcessEnv
  readonly guard: Guard
  /** Takes connections there once it is ready. */
  readonly port: number
  /** True once it serves; where it is left out, taking connections says so. */
  readonly isReady?: () => Promise<boolean>
  /** Another account than ours. */
  readonly account?: { readonly uid: number; readonly gid: number } | undefined
  readonly stopSignal?: NodeJS.Signals
  /** What its log says where it only has to be started once more, because its predecessor is not quite gone. */
  readonly tooEarly?: RegExp
}

/** A program that runs as long as the demo, but for the times when it is killed. Data and port stay the same. */
export class Program {
  readonly #plan: ProgramPlan
  readonly #logFile: string
  #child: ChildProcess | undefined
  #ended: Promise<unknown> = Promise.resolve()

  constructor(plan: ProgramPlan) {
    this.#plan = plan
    this.#logFile = join(plan.dir, `${plan.name}.log`)
  }

  /** Starts it and waits until it serves. */
  async start(): Promise<void> {
    const { name, tooEarly } = this.#plan
    const endAtMs = performance.now() + START_MS_MAX
    let logBegin = this.#spawn()
    while (!(await this.#serves())) {
      if (performance.now() < endAtMs) {
        if (this.#child === undefined && tooEarly?.test(this.#log().slice(logBegin)) === true) logBegin = this.#spawn()
        if (this.#child !== undefined) {
          await delay(50)
          continue
        }
      }
      await this.stop('SIGKILL')
      throw new Error(`${name} did not start. Its log ends with:\n${this.#log().slice(-2_000)}`)
    }
  }

  async #serves(): Promise<boolean> {
    const { port, isReady } = this.#plan
    return this.#child !== undefined && (await (isReady?.() ?? accepts(port)))
  }

  /** @returns where its part of the log begins. */
  #spawn(): number {
    const { command, args, dir, env, guard, account } = this.#plan
    const log = openSync(this.#logFile, 'a')
    const begin = this.#log().length
    // Out of the reach of Ctrl-C: the services still need it while they stop.
    const child = spawn(command, args, { cwd: dir, env, stdio: ['ignore', log, log], detached: true, ...account })
    closeSync(log)
    this.#child = child
    const { pid } = child
    if (pid !== undefined) guard.watch(pid)
    this.#ended = new Promise((resolve) => {
      child.once('exit', resolve)
      child.once('error', resolve)
    }).then(() => {
      this.#child = undefined
      if (pid !== undefined) guard.spare(pid)
    })
    return begin
  }

  #log(): string {
    return existsSync(this.#logFile) ? readFileSync(this.#logFile, 'utf8') : ''
  }

  async stop(signal: NodeJS.Signals = this.#plan.stopSignal ?? 'SIGTERM'): Promise<void> {
    this.#child?.kill(signal)
    const late = setTimeout(() => this.#child?.kill('SIGKILL'), STOP_MS_MAX)
    await this.#ended
    clearTimeout(late)
  }
}

/** Path of a program that may be outside the `PATH`. @throws an `Error` that says how to install it. */
export function programOf(name: string, folders: readonly string[], isFolderFirst = false): string {
  const path = (process.env['PATH'] ?? '').split(delimiter)
  const found = (isFolderFirst ? [...folders, ...path] : [...path, ...folders]).map((folder) => join(folder, name)).find((file) => existsSync(file))
  if (found !== undefined) return found
  const debianPackage = PACKAGES.find(([program]) => program === name)?.[1] ?? name
  throw new Error(`${name} is not installed. On Debian or Ubuntu: apt-get install ${debianPackage}. Or name a running broker with --url`)
}

const PACKAGES: readonly (readonly [string, string])[] = [['epmd', 'rabbitmq-server'], ['postgres', 'postgresql'], ['initdb', 'postgresql'], ['pg_isready', 'postgresql']]

/** A port of this machine that nobody uses now. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new Error('no free port')
  return address.port
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port })
    const end = (isOpen: boolean): void => {
      socket.destroy()
      resolve(isOpen)
    }
    socket.once('connect', () => end(true))
    socket.once('error', () => end(false))
    socket.setTimeout(1_000, () => end(false))
  })
}
