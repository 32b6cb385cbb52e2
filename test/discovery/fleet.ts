import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { TransportSpec } from '../conformance/transport-spec.ts'
import { until } from '../servers/until.ts'
import type { MemberSettings, MemberView } from './fixtures/member.ts'

const SCRIPT = fileURLToPath(new URL('fixtures/member.ts', import.meta.url))

/** A process with instances of a fleet. */
export class FleetProcess {
  readonly instances: readonly string[]
  readonly #child: ChildProcess
  readonly #ended: Promise<unknown>
  readonly #ready = Promise.withResolvers<void>()
  #views: Promise<Readonly<Record<string, MemberView>>> | undefined
  #answered: (views: Readonly<Record<string, MemberView>>) => void = () => {}

  constructor(settings: MemberSettings) {
    this.instances = settings.instances
    this.#child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', SCRIPT], {
      env: { ...process.env, FLEET_MEMBER: JSON.stringify(settings) }, stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
    this.#ended = once(this.#child, 'exit')
    this.#ended.catch(() => undefined)
    this.#child.on('error', () => undefined)
    this.#child.on('message', (message: { readonly ready?: true; readonly views?: Readonly<Record<string, MemberView>> }) => {
      if (message.ready === true) this.#ready.resolve()
      if (message.views !== undefined) this.#answered(message.views)
    })
  }

  /** Resolves when its buses have started. */
  get ready(): Promise<void> {
    return this.#ready.promise
  }

  /** What its directories say. One question at a time is under way. */
  async views(): Promise<Readonly<Record<string, MemberView>>> {
    this.#views ??= new Promise((resolve) => {
      this.#answered = resolve
      this.#child.send({ ask: 'views' })
    })
    const views = await this.#views
    this.#views = undefined
    return views
  }

  async kill(): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.#ended
  }

  stopInPlace(): void {
    this.#child.kill('SIGSTOP')
  }

  goOn(): void {
    this.#child.kill('SIGCONT')
  }
}

/** Instances in processes of their own; all of them end with it. */
export class Fleet implements AsyncDisposable {
  readonly #spec: TransportSpec
  readonly #beatMs: number
  readonly #processes: FleetProcess[] = []

  constructor(spec: TransportSpec, beatMs: number) {
    this.#spec = spec
    this.#beatMs = beatMs
  }

  /** A process with these instances, whose buses start. */
  spawn(instances: readonly string[], spec: TransportSpec = this.#spec): FleetProcess {
    const started = new FleetProcess({ spec, instances, beatMs: this.#beatMs })
    this.#processes.push(started)
    return started
  }

  /** Resolves when every directory of these processes sees all `up` instances up, and none of the `gone` ones. */
  async agrees(processes: readonly FleetProcess[], up: readonly string[], gone: readonly string[], deadlineMs: number): Promise<number> {
    const startedAt = performance.now()
    let last = ''
    try {
      await until(async () => {
        const views = (await Promise.all(processes.map((one) => one.views()))).flatMap((one) => Object.entries(one))
        const wrong = views.flatMap(([by, { states }]) => [
          ...up.filter((instance) => states[instance] !== 'up').map((instance) => `${by} sees ${instance} ${states[instance]}`),
          ...gone.filter((instance) => !['down', 'stopped', undefined].includes(states[instance])).map((instance) => `${by} sees ${instance} ${states[instance]}`),
        ])
        last = `${wrong.length} wrong: ${wrong.slice(0, 10).join(', ')}`
        return wrong.length === 0
      }, { deadlineMs, everyMs: 200, what: 'the right view of every instance' })
    } catch (cause) {
      throw new Error(last, { cause })
    }
    return performance.now() - startedAt
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#processes.map((one) => one.kill()))
  }
}
