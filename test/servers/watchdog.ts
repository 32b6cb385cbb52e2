import { spawn } from 'node:child_process'
import type { Writable } from 'node:stream'

// A shell that waits for the end of its standard input. The pipe closes however this process ends,
// SIGKILL included, so no server outlives the tests that started it.
const SCRIPT = `
pids=
while read -r verb value; do
  case "$verb" in
    kill) pids="$pids $value" ;;
    spare) left=; for pid in $pids; do [ "$pid" = "$value" ] || left="$left $pid"; done; pids=$left ;;
    remove) set -- "$@" "$value" ;;
  esac
done
[ -z "$pids" ] || kill -9 $pids 2>/dev/null
[ $# -eq 0 ] && exit 0
rm -rf -- "$@" 2>/dev/null || { sleep 1; rm -rf -- "$@" 2>/dev/null; }
exit 0
`

let pipe: Writable | undefined

/** Has a process killed when this one ends, in whatever way it ends. */
export function killAtExit(pid: number): void {
  tell(`kill ${pid}`)
}

/** Takes `killAtExit` back: the process has ended and its number may be given to another one. */
export function spareAtExit(pid: number): void {
  tell(`spare ${pid}`)
}

/** Has a directory removed when this process ends, after the processes were killed. */
export function removeAtExit(dir: string): void {
  tell(`remove ${dir}`)
}

function tell(line: string): void {
  pipe ??= startWatchdog()
  pipe.write(`${line}\n`)
}

function startWatchdog(): Writable {
  // Its own process group: a Ctrl-C for the tests must not end it before it has done its work.
  const child = spawn('/bin/sh', ['-c', SCRIPT, 'trunkline-test-watchdog'], { stdio: ['pipe', 'ignore', 'ignore'], detached: true })
  child.unref()
  child.stdin.on('error', () => undefined)
  if ('unref' in child.stdin && typeof child.stdin.unref === 'function') child.stdin.unref()
  return child.stdin
}
