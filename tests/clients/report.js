// One line per check, `ok NAME` or `FAIL NAME: why`, for tests/run to count; the exit code says whether all held.

class Report {
  constructor(suite) {
    this.suite = suite;
    this.failed = 0;
  }

  async check(name, body) {
    try {
      await body();
      console.log(`ok ${this.suite}: ${name}`);
    } catch (error) {
      this.failed += 1;
      const why = `${error.name}: ${error.message}`.replace(/\s+/g, ' ').slice(0, 500);
      console.log(`FAIL ${this.suite}: ${name}: ${why}`);
    }
  }

  exit() {
    process.exit(this.failed ? 1 : 0);
  }
}

function expect(condition, why) {
  if (!condition) throw new Error(typeof why === 'string' ? why : JSON.stringify(why));
}

module.exports = { Report, expect };
