import { execFile } from 'node:child_process'
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { privateFolder } from '../servers/server-process.ts'

const run = promisify(execFile)
const serversScript = join(dirname(dirname(import.meta.dirname)), 'scripts', 'servers.mjs')

/** A machine whose apt-get writes down what it was asked, under which policy, and ends as told. */
class FakeMachine {
  readonly #dir = privateFolder('machine')
  readonly policyFile: string = join(this.#dir, 'policy-rc.d')

  constructor(exitCode: number) {
    const aptGet = join(this.#dir, 'apt-get')
    writeFileSync(aptGet, `#!/bin/sh\necho "$* / $("$POLICY_FILE" || echo policy $?) / $DEBIAN_FRONTEND" >> "${join(this.#dir, 'asked')}"\nexit ${exitCode}\n`)
    chmodSync(aptGet, 0o755)
  }

  get asked(): readonly string[] {
    return readFileSync(join(this.#dir, 'asked'), 'utf8').trim().split('\n')
  }

  async install(packages: readonly string[]): Promise<number> {
    const program = `
      const { install } = await import(${JSON.stringify(serversScript)})
      console.log('status ' + install([], ${JSON.stringify(packages)}).status)
    `
    const env = { ...process.env, PATH: `${this.#dir}${delimiter}${process.env['PATH'] ?? ''}`, POLICY_FILE: this.policyFile }
    const { stdout } = await run(process.execPath, ['--input-type=module', '-e', program], { env })
    return Number(/status (\d+)/.exec(stdout)?.[1])
  }
}

test('installs without a question and without letting a daemon start', async () => {
  const machine = new FakeMachine(0)
  expect(await machine.install(['nats-server', 'postgresql'])).toBe(0)
  expect(machine.asked).toHaveLength(2)
  expect(machine.asked[0]).toMatch(/ update \/ policy 101 \/ noninteractive$/)
  expect(machine.asked[1]).toMatch(/ install -y --no-install-recommends nats-server postgresql \/ policy 101 \/ noninteractive$/)
  expect(existsSync(machine.policyFile)).toBe(false)
})

test.each([0, 100])('puts an earlier policy back when apt-get ends with %d', async (exitCode) => {
  const machine = new FakeMachine(exitCode)
  writeFileSync(machine.policyFile, '#!/bin/sh\nexit 7\n')
  expect(await machine.install(['openssl'])).toBe(exitCode)
  expect(machine.asked[0]).toContain('policy 101')
  expect(readFileSync(machine.policyFile, 'utf8')).toBe('#!/bin/sh\nexit 7\n')
})
