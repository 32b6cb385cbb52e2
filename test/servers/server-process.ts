import { spawn, type ChildProcess } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { until } from './until.ts'
import { killAtExit, removeAtExit, spareAtExit } from './watchdog.ts'

const STOP_MS_MAX = 15_000

/** Certificate files for a server that speaks TLS. With `caFile` clients must show a certificate of that authority. */
export interface ServerTls {
  readonly certFile: string
  readonly keyFile: string
  readonly caFile?: string
}

/** What every private server accepts. */
export interface ServerOptions {
  /** Speak TLS only, with these files. */
  readonly tls?: ServerTls
  /** Lines added to the server's configuration file, in its own syntax. */
  readonly config?: readonly string[]
  /** Clients must log in with these; they become part of `url`. */
  readonly user?: string
  readonly password?: string
}

/** How one technology is run; given to `ServerProcess`. */
export interface ServerPlan {
  readonly name: string
  readonly port: number
  readonly url: string
  readonly dir: string
  readonly command: string
  readonly args: readonly string[]
  readonly env?: NodeJS.ProcessEnv
  readonly uid?: number
  readonly gid?: number
  /** The signal that stops it in order. */
  readonly stopSignal: NodeJS.Signals
  /** Longest time from start to ready. */
  readonly startMs: number
  /** True once clients are served. */
  readonly ready: () => Promise<boolean>
  /** What the log says where the server only needs to be started once more, because its predecessor is not quite gone. */
  readonly tooEarly?: RegExp
  /** Ends what runs beside the server, after it was stopped for good. */
  readonly cleanUp?: () => void
}

/**
 * A real server that belongs to this test process: private folder, private loopback ports.
 *
 * `stop`, `kill9` and `restart` keep data, port and url; `close` removes everything. What a test
 * forgets to close ends with the process that started it, even if that one is killed.
 */
export class ServerProcess {
  readonly url: string
  readonly port: number
  /** Folder of configuration, data and `server.log`. */
  readonly dir: string
  readonly #plan: ServerPlan
  #child: ChildProcess | undefined
  #exit: Promise<void> = Promise.resolve()
  /** Length of the log when the process was started last, or undefined before `start` has done so. */
  #startedAt: number | undefined
  #isPaused = false
  #isClosed = false

  constructor(plan: ServerPlan) {
    this.#plan = plan
    this.url = plan.url
    this.port = plan.port
    this.dir = plan.dir
  }

  /** The operating system's number of the server process. */
  get pid(): number {
    const pid = this.#child?.pid
    if (pid === undefined) throw new Error(`${this.#plan.name} is not running`)
    return pid
  }

  get isRunning(): boolean {
    return this.#child !== undefined
  }

  /** Starts the server and resolves when it serves clients. */
  async start(): Promise<void> {
    if (this.#isClosed) throw new Error(`${this.#plan.name} was closed; make a new one`)
    if (this.#child !== undefined) return
    this.#startedAt = undefined
    try {
      await until(() => this.#isServing(), { deadlineMs: this.#plan.startMs, what: `${this.#plan.name} being ready` })
    } catch (error) {
      await this.kill9()
      throw new Error(`${this.#plan.name} did not start. Its last words:\n${this.logTail()}`, { cause: error })
    }
    if (this.#child === undefined) throw new Error(`${this.#plan.name} ended while it started. Its last words:\n${this.logTail()}`)
  }

  /** Stops the server in order; data, port and url stay. A server that does not end in 15 s is killed. */
  async stop(): Promise<void> {
    if (this.#child === undefined) return
    this.continue()
    this.#child.kill(this.#plan.stopSignal)
    const late = setTimeout(() => this.#child?.kill('SIGKILL'), STOP_MS_MAX)
    await this.#exit
    clearTimeout(late)
  }

  /** Ends the server with SIGKILL, as a crash does; data, port and url stay. */
  async kill9(): Promise<void> {
    this.#child?.kill('SIGKILL')
    await this.#exit
  }

  /** Stops in order and starts again on the same port and data; resolves when it serves clients. */
  async restart(): Promise<void> {
    await this.stop()
    await this.start()
  }

  /** Freezes the process with SIGSTOP, and resolves when it stands still: its connections stay open and say nothing. */
  async pause(): Promise<void> {
    const { pid } = this
    this.#isPaused = true
    process.kill(pid, 'SIGSTOP')
    await until(() => isFrozen(pid), { what: `${this.#plan.name} standing still` })
  }

  /** Lets a frozen process go on. */
  continue(): void {
    if (!this.#isPaused) return
    this.#isPaused = false
    this.#child?.kill('SIGCONT')
  }

  /** Ends the server and removes its folder. */
  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    await this.stop()
    this.#plan.cleanUp?.()
    rmSync(this.dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** The end of the server's log, for the message of a test that failed. */
  logTail(linesMax = 30): string {
    return this.#log().split('\n').slice(-linesMax).join('\n')
  }

  #spawn(): void {
    const { command, args, env, uid, gid, dir } = this.#plan
    const child = spawn('/bin/sh', ['-c', 'exec "$0" "$@" >>server.log 2>&1', command, ...args], {
      cwd: dir,
      stdio: 'ignore',
      ...(env === undefined ? {} : { env }),
      ...(uid === undefined ? {} : { uid }),
      ...(gid === undefined ? {} : { gid }),
    })
    const { pid } = child
    if (pid !== undefined) killAtExit(pid)
    this.#child = child
    this.#isPaused = false
    this.#exit = new Promise((resolve) => {
      const ended = (): void => {
        if (pid !== undefined) spareAtExit(pid)
        this.#child = undefined
        resolve()
      }
      child.once('exit', ended)
      child.once('error', ended)
    })
  }

  /** Starts the process where it has to be started. True once it serves, or has ended in a way that no waiting mends. */
  async #isServing(): Promise<boolean> {
    if (this.#child !== undefined) return await this.#plan.ready()
    const isNew = this.#startedAt === undefined
    if (!isNew && this.#plan.tooEarly?.test(this.#log().slice(this.#startedAt)) !== true) return true
    this.#startedAt = this.#log().length
    this.#spawn()
    return false
  }

  #log(): string {
    try {
      return readFileSync(join(this.dir, 'server.log'), 'utf8')
    } catch {
      return ''
    }
  }
}

/** A new private folder that is removed at the latest when this process ends. */
export function privateFolder(name: string): string {
  const dir = mkdtempSync(join(tmpdir(), `trunkline-${name}-`))
  removeAtExit(dir)
  return dir
}

/** `user:password@` for a url, or nothing. */
export function credentialsOf(options: ServerOptions): string {
  if (options.user === undefined) return ''
  return `${encodeURIComponent(options.user)}:${encodeURIComponent(options.password ?? '')}@`
}

/** True where a loopback port accepts a connection within a second. */
export function acceptsConnections(port: number): Promise<boolean> {
  const answer = new Promise<boolean>((resolve) => {
    const socket = connect({ host: '127.0.0.1', port })
    const end = (isOpen: boolean) => (): void => {
      socket.destroy()
      resolve(isOpen)
    }
    socket.once('connect', end(true))
    socket.once('error', end(false))
    socket.setTimeout(1_000, end(false))
  })
  return answer
}


/** The signal reaches each thread in its own time; one that still runs can still answer. */
function isFrozen(pid: number): boolean {
  const tasks = `/proc/${pid}/task`
  if (!existsSync(tasks)) return true
  return readdirSync(tasks).every((task) => /\) [Tt] /.test(readFileSync(join(tasks, task, 'stat'), 'utf8')))
}
