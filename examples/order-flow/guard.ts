import { type ChildProcess, spawn } from 'node:child_process'

// The pipe to this shell closes however the demo ends, SIGKILL included; only then it does its work.
const SCRIPT = `
pids=
while read -r word pid; do
  rest=
  for each in $pids; do [ "$each" = "$pid" ] || rest="$rest $each"; done
  pids=$rest
  [ "$word" = spare ] || pids="$pids $pid"
done
[ -z "$pids" ] || kill -9 $pids 2>/dev/null
sleep 1
[ -z "$1" ] || rm -rf -- "$1"
`

/** Cleans up behind a demo that could not do it itself: brokers and the folder. */
export class Guard implements Disposable {
  readonly #shell: ChildProcess

  /** @param dir removed in the end; undefined for a folder that stays. */
  constructor(dir: string | undefined) {
    // In a process group of its own, out of the reach of Ctrl-C.
    this.#shell = spawn('/bin/sh', ['-c', SCRIPT, 'trunkline-demo-guard', dir ?? ''], { stdio: ['pipe', 'ignore', 'ignore'], detached: true, cwd: '/' })
    this.#shell.on('error', () => {})
    this.#shell.stdin?.on('error', () => {})
    this.#shell.unref()
  }

  /** Has a process killed if this one dies without stopping it. */
  watch(pid: number): void {
    this.#shell.stdin?.write(`watch ${pid}\n`)
  }

  /** It has ended. */
  spare(pid: number): void {
    this.#shell.stdin?.write(`spare ${pid}\n`)
  }

  /** The demo has cleaned up itself. */
  [Symbol.dispose](): void {
    this.#shell.kill('SIGKILL')
    this.#shell.stdin?.destroy()
  }
}
