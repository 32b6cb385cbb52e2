import { spawn } from 'node:child_process'
import { expect, test } from 'vitest'
import { isSurelyDead, ownIdentity } from '../../../src/adapters/sqlite/sqlite-process.ts'

const own = ownIdentity()

test('a running process is not dead, and one that has ended is', async () => {
  const child = spawn(process.execPath, ['-e', 'setTimeout(() => {}, 60_000)'], { stdio: 'ignore' })
  const pid = child.pid ?? 0
  expect(isSurelyDead({ ...own, pid, started: '' }, own)).toBe(false)
  child.kill('SIGKILL')
  await new Promise((resolve) => child.once('exit', resolve))
  expect(isSurelyDead({ ...own, pid, started: '' }, own)).toBe(true)
})

test('itself is not dead, an earlier process of the same number is', () => {
  expect(isSurelyDead(own, own)).toBe(false)
  expect(isSurelyDead({ ...own, started: 'earlier' }, own)).toBe(true)
  expect(isSurelyDead({ ...own, pid: process.ppid, started: 'earlier' }, own)).toBe(own.started !== '')
})

test('a process of another boot, machine or namespace is never called dead', () => {
  expect(isSurelyDead({ place: 'elsewhere', pid: 2 ** 22 + 1, started: '' }, own)).toBe(false)
})
